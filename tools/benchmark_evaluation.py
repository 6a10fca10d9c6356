"""Times the measures of features, beside torch-fidelity where it is installed.

    pip install torch-fidelity
    PYTHONPATH=. python tools/benchmark_evaluation.py
    PYTHONPATH=. python tools/benchmark_evaluation.py --count=50000 \\
        --only=precision_recall --files=FOLDER

Features are random, [--count, --dims] float32, of two sets; NumPy is all that
is needed. Both programs measure the same arrays in turn, in this process, each
--rounds times; the best time counts. --files puts the features in files, which
are read as they are needed, and torch-fidelity is left out; peak_gib is then
the memory beside them, from which the shared pages of files are subtracted.
Prints JSON: seconds, values, their relative difference and the ratios of times;
where other programs run too, those of the processors' seconds tell more.
"""

import argparse
import json
import os
import sys
import time

import numpy as np

from vqvae2_tf.evaluation.frechet import Gaussian
from vqvae2_tf.evaluation.frechet import frechet_distance
from vqvae2_tf.evaluation.inception_score import inception_score
from vqvae2_tf.evaluation.kernel_distance import kernel_distance
from vqvae2_tf.evaluation.precision_recall import precision_recall


def own_frechet(samples, originals):
    """As `evaluate distances` computes it, out of blocks."""
    one, other = (
        Gaussian(x[i : i + 4096] for i in range(0, len(x), 4096))
        for x in (samples, originals)
    )
    return frechet_distance(
        one.mean, one.covariance, other.mean, other.covariance
    )


OWN = {
    "frechet": own_frechet,
    "kernel": lambda x, y: kernel_distance(x, y).value,
    "inception_score": lambda x, y: inception_score(x[:, :1008]).value,
    "precision_recall": lambda x, y: precision_recall(x, y)[:2],
}


def peers():
    """The same of torch-fidelity, of tensors; empty if it is not installed."""
    try:
        from torch_fidelity import metric_fid
        from torch_fidelity import metric_isc
        from torch_fidelity import metric_kid
        from torch_fidelity import metric_prc
    except ImportError:
        return {}

    def frechet(x, y):
        own = map(metric_fid.fid_features_to_statistics, (x, y))
        return metric_fid.fid_statistics_to_metric(*own, verbose=False)[
            metric_fid.KEY_METRIC_FID
        ]

    def precision_and_recall(x, y):
        found = metric_prc.prc_features_to_metric(x, y, verbose=False)
        return found["precision"], found["recall"]

    return {
        "frechet": frechet,
        "kernel": lambda x, y: metric_kid.kid_features_to_metric(
            x, y, verbose=False
        )[metric_kid.KEY_METRIC_KID_MEAN],
        "inception_score": lambda x, y: metric_isc.isc_features_to_metric(
            x[:, :1008]
        )[metric_isc.KEY_METRIC_ISC_MEAN],
        "precision_recall": precision_and_recall,
    }


def make(seed, options):
    """Random features, as an array or as a file."""
    rng = np.random.default_rng(seed)
    shape = options.count, options.dims
    if options.files:
        path = os.path.join(options.files, f"features-{seed}.npy")
        array = np.lib.format.open_memmap(path, "w+", "float32", shape)
    else:
        array = np.empty(shape, "float32")
    for start in range(0, options.count, 4096):
        part = array[start : start + 4096]
        # Partly shared, so that precision and recall are neither 0 nor 1.
        part[:] = rng.standard_normal(part.shape, "float32") + 0.1 * seed
    if options.files:
        array.flush()
        return np.load(path, mmap_mode="r")
    return array


def own_memory_gib():
    """Memory of this process, without the pages of files, now and at most."""
    with open("/proc/self/status", encoding="utf-8") as file:
        rows = dict(line.split(":", 1) for line in file)
    return int(rows["RssAnon"].split()[0]) / 2**20


class Peak:
    """The most `own_memory_gib` of a block, looked at ten times a second."""

    def __enter__(self):
        import threading

        self.gib, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._stop.wait(0.1):
            self.gib = max(self.gib, own_memory_gib())

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()


def timed(function, x, y):
    """Seconds, those of all processors together, and value of a call."""
    clocks = time.perf_counter, time.process_time
    starts = [clock() for clock in clocks]
    value = function(x, y)
    seconds = [c() - s for c, s in zip(clocks, starts, strict=True)]
    return seconds, np.atleast_1d(value)


def main():
    """Prints a row a measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--dims", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=OWN, nargs="*", default=list(OWN))
    parser.add_argument("--files", help="Folder for the features.")
    options = parser.parse_args()
    x, y = make(0, options), make(1, options)
    others = {} if options.files else peers()
    if others:
        import torch

        tensors = torch.from_numpy(x), torch.from_numpy(y)
    rows = {}
    for name in options.only:
        seconds, peer_seconds = [], []
        with Peak() as peak:
            for _ in range(options.rounds):
                own_s, value = timed(OWN[name], x, y)
                seconds.append(own_s)
                if name in others:
                    peer_s, peer = timed(others[name], *tensors)
                    peer_seconds.append(peer_s)
        own_s = np.min(seconds, axis=0)
        rows[name] = {
            "seconds": own_s[0],
            "cpu_seconds": own_s[1],
            "value": value.tolist(),
        }
        if options.files:
            rows[name]["peak_gib"] = peak.gib
        if peer_seconds:
            peer_s = np.min(peer_seconds, axis=0)
            rows[name] |= {
                "torch_fidelity_s": peer_s[0],
                "torch_fidelity_cpu_s": peer_s[1],
                "times_faster": peer_s[0] / own_s[0],
                "times_fewer_cpu_seconds": peer_s[1] / own_s[1],
                "relative_difference": float(np.max(np.abs(value / peer - 1))),
            }
        print(name, rows[name], file=sys.stderr, flush=True)
    print(json.dumps(vars(options) | rows, indent=2))


if __name__ == "__main__":
    main()

"""Times the project's main jobs and prints the figures as JSON.

    python tools/benchmark.py stage1
    python tools/benchmark.py sampling --batch_sizes=1,16
    python tools/benchmark.py sampling --scaling --batch_sizes=1
    KERAS_BACKEND=jax python tools/benchmark.py sampling --paper_size
    python tools/benchmark.py prior --paper_size --rematerialize

`stage1` times training, encoding and decoding of the VQ-VAE-2 on random
pictures. `prior` times training steps of priors on random codes. `sampling`
times incremental sampling, on TensorFlow with a part of the batch on each core
of a CPU, and one forward pass: naive sampling is one a position, so that their
ratio follows. Weights are random; no time depends on them. Runs on either
backend; TensorFlow is not needed under JAX.

`--against=COMMAND` runs another program that prints rows of the same names in
turn with this one, and prints the ratios.
"""

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from absl import app
from absl import flags

from benchmarks import priors
from benchmarks.prior_training import prior_training
from benchmarks.sampling import paper_sampling
from benchmarks.sampling import sampling
from benchmarks.stage1 import stage1

flags.DEFINE_list("image_sizes", "64,128,256", "Of stage1: pixels, square.")
flags.DEFINE_list(
    "batch_sizes",
    None,
    "Of stage1 one for each of --image_sizes (32,16,8), of prior one for each "
    "prior (8,2; 1 with --paper_size), of sampling each of them for each prior "
    "(1,16).",
)
flags.DEFINE_boolean(
    "paper_size",
    False,
    "The ImageNet priors: of prior the top one, of sampling both and the "
    "decoder.",
)
flags.DEFINE_boolean(
    "rematerialize", False, "Of prior: recompute the gated layers."
)
flags.DEFINE_boolean(
    "scaling",
    False,
    "Of sampling: one prior without attention on maps of 8x8 to 64x64.",
)
flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "bfloat16"],
    "bfloat16 keeps the weights in float32.",
)
flags.DEFINE_integer("repeats", 5, "Timed calls a figure.", lower_bound=1)
flags.DEFINE_integer("rounds", 3, "Turns with --against.", lower_bound=1)
flags.DEFINE_string("against", None, "Command of a program to compare with.")


def measure_stage1():
    """The rows of `stage1`, one an image size."""
    sizes = _integers("image_sizes", "64,128,256")
    batches = _integers("batch_sizes", "32,16,8")
    if len(sizes) != len(batches):
        sys.exit(
            "error: --batch_sizes: expected one for each of --image_sizes. "
            f"Received: {len(batches)} for {len(sizes)}"
        )
    return [
        stage1(size, batch, flags.FLAGS.repeats)
        for size, batch in zip(sizes, batches, strict=True)
    ]


def measure_prior():
    """The rows of `prior`, one a prior."""
    paper_size = flags.FLAGS.paper_size
    timed = priors.PAPER_PRIORS[:1] if paper_size else priors.PRIORS
    batches = _integers("batch_sizes", "1" if paper_size else "8,2")
    if len(timed) != len(batches):
        sys.exit(
            f"error: --batch_sizes: expected {len(timed)}, one for each "
            f"prior. Received: {len(batches)}"
        )
    changes = {"rematerialize": flags.FLAGS.rematerialize}
    return [
        prior_training({**arguments, **changes}, batch, flags.FLAGS.repeats)
        for arguments, batch in zip(timed, batches, strict=True)
    ]


def measure_sampling():
    """The rows of `sampling`, one a prior and batch size."""
    batches = _integers("batch_sizes", "1,16")
    if flags.FLAGS.paper_size:
        return [paper_sampling(b, flags.FLAGS.repeats) for b in batches]
    timed = priors.SCALING_PRIORS if flags.FLAGS.scaling else priors.PRIORS
    return [
        sampling(arguments, batch, flags.FLAGS.repeats)
        for arguments in timed
        for batch in batches
    ]


def _integers(name, default):
    texts = flags.FLAGS[name].value or default.split(",")
    try:
        return [int(text) for text in texts]
    except ValueError:
        sys.exit(
            f"error: --{name}: expected whole numbers. Received: "
            f"{','.join(texts)}"
        )


JOBS = {
    "stage1": measure_stage1,
    "prior": measure_prior,
    "sampling": measure_sampling,
}


def main(arguments):
    if len(arguments) != 2 or arguments[1] not in JOBS:
        sys.exit(f"usage: python tools/benchmark.py {'|'.join(JOBS)} [flags]")
    if flags.FLAGS.precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    report = {
        "job": arguments[1],
        "date": time.strftime("%Y-%m-%d"),
        "backend": keras.backend.backend(),
        "precision": flags.FLAGS.precision,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
        "devices": _devices(),
    }
    if not flags.FLAGS.against:
        report["rows"] = JOBS[arguments[1]]()
    else:
        command = shlex.split(flags.FLAGS.against)
        rounds = []
        for _ in range(flags.FLAGS.rounds):
            ours = JOBS[arguments[1]]()
            theirs = json.loads(subprocess.check_output(command))["rows"]
            rounds.append((ours, theirs))
        report["rows"] = _medians([ours for ours, _ in rounds])
        report["peer_rows"] = _medians([theirs for _, theirs in rounds])
        report["times_as_fast"] = [
            {
                name: statistics.median(
                    ours[i][name] / theirs[i][name] for ours, theirs in rounds
                )
                for name in row
                if name.endswith("_per_s")
            }
            for i, row in enumerate(report["peer_rows"])
        ]
    print(json.dumps(report, indent=2))


def _medians(rounds):
    return [
        {
            name: statistics.median(row[name] for row in rows)
            if isinstance(value, int | float)
            else value
            for name, value in rows[0].items()
        }
        for rows in zip(*rounds, strict=True)
    ]


def _devices():
    if keras.backend.backend() == "jax":
        import jax

        return [device.device_kind for device in jax.devices()]
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices()]


if __name__ == "__main__":
    app.run(main)

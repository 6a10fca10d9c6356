"""Times the project's main jobs and prints the figures as JSON.

    python tools/benchmark.py stage1
    python tools/benchmark.py sampling --batch_sizes=1,16
    python tools/benchmark.py sampling --map_sizes=8,16,32,64 \\
        --hidden_units=128 --layers=16 --attention_every=0
    KERAS_BACKEND=jax python tools/benchmark.py sampling --paper_size=imagenet
    python tools/benchmark.py prior --paper_size=ffhq --rematerialize

`stage1` times training, encoding and decoding of the VQ-VAE-2 on random
pictures. `prior` times training steps of priors on random codes. `sampling`
times incremental sampling (on TensorFlow compiled by XLA, with a part of the
batch on each core of a CPU) and one forward pass (on TensorFlow a graph): naive
sampling is one a position, so that its time and their ratio follow. Weights are
random; no time depends on them. Runs on either backend; TensorFlow is not
needed under JAX.

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

from benchmarks import paper
from benchmarks.prior_training import prior_training
from benchmarks.sampling import paper_sampling
from benchmarks.sampling import sampling
from benchmarks.stage1 import stage1

flags.DEFINE_list("image_sizes", "64,128,256", "Of stage1: pixels, square.")
flags.DEFINE_list(
    "map_sizes", "16,32", "Of prior and sampling: codes, square; the priors."
)
flags.DEFINE_list("hidden_units", "64,128", "One for all priors, or one each.")
flags.DEFINE_list("layers", "8,16", "Gated layers; one for all, or one each.")
flags.DEFINE_list(
    "attention_every", "2,4", "0 for no attention; one for all, or one each."
)
flags.DEFINE_list(
    "batch_sizes",
    None,
    "Of stage1 one for each of --image_sizes (32,16,8), of prior one for each "
    "prior (8,2); of sampling each of them for each prior (1,16). 1 with "
    "--paper_size.",
)
flags.DEFINE_enum(
    "paper_size",
    None,
    sorted(paper.PRIORS),
    "The paper's networks instead: of stage1 the autoencoder, of prior the top "
    "one, of sampling all priors and the decoder.",
)
flags.DEFINE_boolean(
    "rematerialize", False, "Of prior: recompute the gated layers."
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
    if flags.FLAGS.paper_size:
        networks = [paper.STAGE1[flags.FLAGS.paper_size]]
    else:
        networks = [
            {"image_size": size, "strides": (4, 2)}
            for size in _integers("image_sizes")
        ]
    return [
        stage1(**network, batch_size=batch, repeats=flags.FLAGS.repeats)
        for network, batch in _with_batches(networks, [32, 16, 8])
    ]


def measure_prior():
    """The rows of `prior`, one a prior."""
    if flags.FLAGS.paper_size:
        priors = paper.PRIORS[flags.FLAGS.paper_size][:1]
    else:
        priors = _given_priors()
    changes = {"rematerialize": flags.FLAGS.rematerialize}
    return [
        prior_training({**prior, **changes}, batch, flags.FLAGS.repeats)
        for prior, batch in _with_batches(priors, [8, 2])
    ]


def measure_sampling():
    """The rows of `sampling`, one a prior and batch size."""
    set_name = flags.FLAGS.paper_size
    batches = _integers("batch_sizes") or ([1] if set_name else [1, 16])
    if set_name:
        return [
            paper_sampling(
                paper.PRIORS[set_name],
                paper.STAGE1[set_name],
                batch,
                flags.FLAGS.repeats,
            )
            for batch in batches
        ]
    return [
        sampling(prior, batch, flags.FLAGS.repeats)
        for prior in _given_priors()
        for batch in batches
    ]


def _given_priors():
    """Arguments of the priors that the flags tell of."""
    sizes = _integers("map_sizes")
    columns = [sizes]
    for name in ("hidden_units", "layers", "attention_every"):
        column = _integers(name, lowest=name != "attention_every")
        if len(column) not in (1, len(sizes)):
            sys.exit(
                f"error: --{name}: expected one number, or one for each of "
                f"--map_sizes. Received: {len(column)} for {len(sizes)}"
            )
        columns.append(column * (len(sizes) if len(column) == 1 else 1))
    return [
        {
            "map_size": (size, size),
            "hidden_units": width,
            "residual_units": width,
            "num_layers": layers,
            "attention_every": every,
        }
        for size, width, layers, every in zip(*columns, strict=True)
    ]


def _with_batches(networks, default):
    """Pairs of each network and its batch size."""
    if flags.FLAGS.paper_size:
        default = [1]
    batches = _integers("batch_sizes") or default
    if len(networks) != len(batches):
        sys.exit(
            f"error: --batch_sizes: expected {len(networks)}, one for each "
            f"network. Received: {len(batches)}"
        )
    return zip(networks, batches, strict=True)


def _integers(name, lowest=1):
    texts = flags.FLAGS[name].value or []
    if all(text.isdecimal() and int(text) >= lowest for text in texts):
        return [int(text) for text in texts]
    sys.exit(
        f"error: --{name}: expected whole numbers, at least {int(lowest)}. "
        f"Received: {','.join(texts)}"
    )


def _rows_of(command):
    """Rows that the program to compare with prints."""
    told = f"error: --against={command}: "
    try:
        output = subprocess.check_output(shlex.split(command))
        return json.loads(output)["rows"]
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{told}{error}")
    except (ValueError, KeyError, TypeError):
        sys.exit(f"{told}expected JSON with rows on its standard output.")


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
    measure = JOBS[arguments[1]]
    report = {
        "job": arguments[1],
        "date": time.strftime("%Y-%m-%d"),
        "backend": keras.backend.backend(),
        "precision": flags.FLAGS.precision,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
        "devices": _devices(),
    }
    if not flags.FLAGS.against:
        report["rows"] = measure()
    else:
        rounds = []
        for _ in range(flags.FLAGS.rounds):
            # First the other, whose command may be wrong.
            theirs = _rows_of(flags.FLAGS.against)
            rounds.append((measure(), theirs))
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

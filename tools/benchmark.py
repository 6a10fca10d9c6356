"""Times the main jobs of the networks that flags describe.

    python tools/benchmark.py stage1
    python tools/benchmark.py stage1 --flagfile=ffhq.flags
    python tools/benchmark.py prior --flagfile=ffhq.flags --level=middle \\
        --prior_rematerialize
    KERAS_BACKEND=jax python tools/benchmark.py sampling \\
        --flagfile=imagenet.flags --num_classes=1000 --batch_sizes=1,64
    python tools/benchmark.py input --sources=imagenet --step_images_per_s=2000
    python tools/benchmark.py resume

`stage1` times training, encoding and decoding of the autoencoder on random
images. `prior` times training steps of one level's prior on random codes.
`sampling` times sampling of each level with the flags' sampling options (with
--stage=prior only of --level; on TensorFlow compiled by XLA, with a part of the
batch on each core of a CPU),
one forward pass (on TensorFlow a graph), of which naive sampling takes one a
position, and the decoder. `input` times the pipelines that read FFHQ, ImageNet
and a folder of photographs, up to each of their stages, on generated files of
such sizes that lie in the system's cache of files, and names the bottleneck:
the stage that takes the most time, or the training step, of which
--step_images_per_s gives the speed on other devices. Then it times batches of
cached images, as --cache_images has them. `resume` times the first
batch at 90 % of an epoch. Takes the flags of `vqvae2 train`. Without --flagfile
and --image_size the networks are small ones, to which the flags are added.
Weights are random; no time depends on them. Prints JSON. Under JAX, TensorFlow
is not needed.

`--against=COMMAND` runs another program that prints rows of the same names in
turn with this one, and prints the ratios.
"""

# First: TensorFlow, which Keras imports, reads the environment that it sets.
from vqvae2_tf.commands import cli  # isort: skip

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

import keras

import timing
from vqvae2_tf.errors import UserError
from vqvae2_tf.flags import Flag
from vqvae2_tf.priors.base import RasterPrior
from vqvae2_tf.runs import configuration
from vqvae2_tf.runs import networks
from vqvae2_tf.sampling import sample
from vqvae2_tf.training import precision
from vqvae2_tf.training.devices import open_devices

# Those of input_pipelines.py, which needs TensorFlow.
SOURCES = ("ffhq", "imagenet", "folder")
FLAGS = [
    Flag("batch_sizes", [1], "Batch sizes; all are timed.", 1, many=True),
    Flag("num_classes", 0, "Classes of the priors; 0 for none.", 0),
    Flag("repeats", 5, "Timed calls; the median is printed.", 1),
    Flag("rounds", 3, "Rounds of both programs with --against.", 1),
    Flag(
        "sources",
        list(SOURCES),
        "Of `input`.",
        choices=SOURCES,
        many=True,
    ),
    Flag("step_images_per_s", 0.0, "Of training; 0 to time it here.", 0.0),
    Flag("examples", 1_280_000, "Images of `resume`.", 1),
    Flag("shards", 1024, "Their shards.", 1),
    Flag("against", None, "Command of a program to compare with."),
]
# Flags before the given ones, which win. Nothing is read or written.
ALWAYS = "--dataset=none --run_dir=none --precision=float32 "
# The small networks.
STAGE1 = "--image_size={} --batch_sizes={}"
PRIOR = (
    "--strides=4 --image_size={0} --prior_hidden_units={1} --prior_layers={2} "
    "--prior_residual_units={1} --prior_attention_every={3} --batch_sizes={4}"
)
NETWORKS = {
    "stage1": [STAGE1.format(*row) for row in ((64, 32), (128, 16), (256, 8))],
    "prior": [PRIOR.format(64, 64, 8, 2, 8), PRIOR.format(128, 128, 16, 4, 2)],
    "input": [STAGE1.format(256, 8) + " --augment=crop,flip"],
    "resume": ["--batch_sizes=128"],
    "sampling": [
        PRIOR.format(64, 64, 8, 2, "1,16"),
        PRIOR.format(128, 128, 16, 4, "1,16"),
    ],
}


def configurations(job, arguments):
    """The configuration of each network to time, its dtype policy with it."""
    always = ALWAYS + "--stage=prior --level=top" * (job == "prior")
    given = any(argument.startswith("--image_size") for argument in arguments)
    for text in [""] if given else NETWORKS[job]:
        line = [*always.split(), *text.split(), *arguments]
        config = configuration.parse(line, __doc__, FLAGS)
        name, _ = precision.choose_precision(
            config.precision, accelerator=open_devices("one").accelerator
        )
        dtype = precision.dtype_policy(name)
        yield config.replace(precision=name, dtype=dtype)


def stage1(config, batch_size):
    """Rows of training, encoding and decoding; `compile_s` is of all three."""
    model = networks.make_autoencoder(config, config.dtype)
    shape = (batch_size, *config.image_size, config.channels)
    images = keras.random.uniform(shape, -1, 1)
    train = timing.train_step(model, {"image": images})
    encode = timing.compiled(model.encode, model)
    decode = timing.compiled(model.decode, model)
    training = timing.measure_steps(config.repeats, train)
    encoding = timing.measure(config.repeats, encode, images)
    decoding = timing.measure(config.repeats, decode, encoding.outputs)
    row = {
        "image_size": config.image_size,
        "train_step_s": training.median_s,
        "train_images_per_s": batch_size / training.median_s,
        "encode_images_per_s": batch_size / encoding.median_s,
        "decode_images_per_s": batch_size / decoding.median_s,
        "compile_s": training.first_s + encoding.first_s + decoding.first_s,
        "peak_gib": timing.peak_gib(),
    }
    yield model, row


def input_pipelines(config, batch_size):
    """A row of each pipeline's stages."""
    import input_pipelines

    model = networks.make_autoencoder(config, config.dtype)
    speed = config.step_images_per_s
    if not speed:
        shape = (batch_size, *config.image_size, config.channels)
        images = keras.random.uniform(shape, -1, 1)
        train = timing.train_step(model, {"image": images})
        times = timing.measure_steps(config.repeats, train)
        speed = batch_size / times.median_s
    for name in config.sources:
        with tempfile.TemporaryDirectory() as folder:
            source = input_pipelines.SOURCES[name](folder, config)
            row = input_pipelines.stage_speeds(source, config, batch_size)
        keeps_up = row["batch_images_per_s"] >= speed
        yield (
            model,
            {
                "source": name,
                "image_size": config.image_size,
                **row,
                "train_images_per_s": speed,
                "bottleneck": "train" if keeps_up else row["slowest_stage"],
            },
        )


def resume(config, batch_size):
    """A row of the first batch of a resumed epoch."""
    import input_pipelines

    images = list(input_pipelines.photographs(1, (8, 8), 0.0, format="PNG"))
    length = -(-config.examples // config.shards)
    with tempfile.TemporaryDirectory() as folder:
        source = input_pipelines.write(folder, images, config.shards, length)
        row = input_pipelines.resumed(source, 0.9, batch_size)
    yield None, row


def prior(config, batch_size):
    """Rows of training; `compile_s` is the first step's time."""
    index = config.level_names.index(config.level)
    parts = config.prior_accumulation_steps[index]
    if batch_size % parts:
        raise UserError(
            f"--batch_sizes: expected multiples of --prior_accumulation_steps="
            f"{parts}. Received: {batch_size}"
        )
    model, batch = _prior(config, index, batch_size)
    train = timing.train_step(model, batch, parts)
    training = timing.measure_steps(config.repeats, train)
    codes = batch_size * model.level.num_positions
    row = {
        "level": model.level.name,
        "map_size": model.level.size,
        "train_step_s": training.median_s,
        "train_codes_per_s": codes / training.median_s,
        "compile_s": training.first_s,
        "peak_gib": timing.peak_gib(),
    }
    yield model, row


def sampling(config, batch_size):
    """Rows of each level's sampling and, if it is of all, of whole images.

    Times are of a batch; `compile_s` is what the first call takes longer.
    """
    total_s = 0.0
    for index, level in enumerate(config.levels):
        if config.stage != "prior" or level.name == config.level:
            model, row = _sampling_of_level(config, index, batch_size)
            total_s += row["sample_s"]
            yield model, row
    if config.stage == "prior":
        return
    model = networks.make_autoencoder(config, config.dtype)
    codes = _codes(config.levels, batch_size)
    decode = timing.compiled(model.decode, model)
    decode_s = timing.measure(config.repeats, decode, codes).median_s
    row = {
        "image_size": config.image_size,
        "sample_s": total_s,
        "decode_s": decode_s,
        "seconds_per_image": (total_s + decode_s) / batch_size,
    }
    yield model, row


def _sampling_of_level(config, index, batch_size):
    model, batch = _prior(config, index, batch_size)
    given = {"coarser": batch["codes"][:index]}
    if model.num_classes:
        given["labels"] = batch["label"]
    ids = {"sample_ids": keras.ops.arange(batch_size, dtype="int32")}
    options = {
        flag.name: getattr(config, flag.name)[index]
        for flag in model.sampling_flags
    }
    draw = timing.compiled_sampler(
        lambda batch: sample(model, **batch, **options), model
    )
    drawing = timing.measure(config.repeats, draw, {**ids, **given})
    positions = model.level.num_positions
    row = {
        "level": model.level.name,
        "map_size": model.level.size,
        "sample_s": drawing.median_s,
        "seconds_per_image": drawing.median_s / batch_size,
        "seconds_per_position": drawing.median_s / positions,
        "compile_s": drawing.first_s - drawing.median_s,
    }
    if isinstance(model, RasterPrior):
        codes = batch["codes"][index]
        call = timing.compiled(lambda x, given: model(x, **given), model)
        forward_s = timing.measure(config.repeats, call, codes, given).median_s
        naive_s = forward_s * positions
        row["forward_s"], row["naive_s"] = forward_s, naive_s
        row["times_naive"] = naive_s / drawing.median_s
    return model, row


def _prior(config, index, batch_size):
    """A level's prior, and a batch to train it on."""
    codes = _codes(config.levels[: index + 1], batch_size)
    label = keras.ops.zeros((batch_size,), "int32")
    classes = config.num_classes
    model = networks.make_prior(config, index, classes, config.dtype)
    return model, {"codes": codes, "label": label}


def _codes(levels, batch_size):
    return tuple(
        keras.random.randint((batch_size, *level.shape), 0, level.num_codes)
        if level.num_codes
        else keras.random.normal((batch_size, *level.shape))
        for level in levels
    )


JOBS = {
    "stage1": stage1,
    "prior": prior,
    "sampling": sampling,
    "input": input_pipelines,
    "resume": resume,
}


def main(arguments):
    """Prints the report of a job."""
    job, *arguments = arguments or [""]
    if job not in JOBS:
        sys.exit(f"{__doc__}\nerror: expected one of {', '.join(JOBS)} first.")
    configs = list(configurations(job, arguments))

    def rows():
        found = []
        for config in configs:
            for size in config.batch_sizes:
                for model, row in JOBS[job](config, size):
                    shared = {"batch_size": size}
                    if model:
                        shared["network"] = type(model).__name__
                        shared["parameters"] = model.count_params()
                    found.append({**shared, **row})
        return found

    report = {
        "job": job,
        "date": time.strftime("%Y-%m-%d"),
        "backend": keras.backend.backend(),
        "precision": configs[0].precision,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
        "devices": timing.devices(),
    }
    if configs[0].against:
        report |= compare(rows, configs[0].against, configs[0].rounds)
    else:
        report["rows"] = rows()
    print(json.dumps(report, indent=2))


def compare(rows, command, num_rounds):
    """Rows of this program and of another, and the ratios of their speeds."""
    rounds = []
    for _ in range(num_rounds):
        # First the other, whose command may be wrong.
        theirs, ours = _rows_of(command), rows()
        ratios = [
            {name: a[name] / b[name] for name in b if name.endswith("_per_s")}
            for a, b in zip(ours, theirs, strict=True)
        ]
        rounds.append((ours, theirs, ratios))
    ours, theirs, ratios = map(_medians, zip(*rounds, strict=True))
    return {"rows": ours, "peer_rows": theirs, "times_as_fast": ratios}


def _rows_of(command):
    """Rows that the program to compare with prints."""
    try:
        return json.loads(subprocess.check_output(shlex.split(command)))["rows"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise UserError(
            f"--against={command}: expected JSON with rows on its standard "
            f"output ({error!r})."
        ) from error


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


if __name__ == "__main__":
    # Not `run_script`, which would hide what the program of --against writes.
    cli.set_up_keras()
    cli.run(main, sys.argv[1:])

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
import resource
import shlex
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from absl import app
from absl import flags

from vqvae2_tf.models import VQVAE2
from vqvae2_tf.models import PixelSNAIL
from vqvae2_tf.sampling import sample
from vqvae2_tf.sampling import sample_levels

# The priors that `prior` and `sampling` time: a small and a middling one.
PRIORS = (
    {
        "map_size": (16, 16),
        "hidden_units": 64,
        "residual_units": 64,
        "num_layers": 8,
        "attention_every": 2,
    },
    {
        "map_size": (32, 32),
        "hidden_units": 128,
        "residual_units": 128,
        "num_layers": 16,
        "attention_every": 4,
    },
)
# The middling one without attention: a position's time should not grow.
SCALING_PRIORS = tuple(
    {**PRIORS[1], "map_size": (size, size), "attention_every": 0}
    for size in (8, 16, 32, 64)
)
# Table 1 of the paper's supplement: the priors of ImageNet at 256x256.
PAPER_PRIORS = (
    {
        "map_size": (32, 32),
        "hidden_units": 512,
        "residual_units": 2048,
        "num_layers": 20,
        "attention_every": 5,
        "num_output_layers": 20,
        "num_classes": 1000,
    },
    {
        "map_size": (64, 64),
        "hidden_units": 512,
        "residual_units": 1024,
        "num_layers": 20,
        "attention_every": 0,
        "num_classes": 1000,
        "coarser_map_sizes": ((32, 32),),
        "num_conditioning_blocks": 20,
        "conditioning_units": 1024,
    },
)

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


def stage1(image_size, batch_size, repeats):
    """Times one step of stage 1 at the paper's widths.

    Returns:
        dict of `train_step_s` (seconds of an optimizer step with the codebook's
        and the averages' updates), `train_images_per_s`,
        `encode_images_per_s`, `decode_images_per_s` (medians) and `compile_s`
        (seconds of the three first calls).
    """
    model = VQVAE2(strides=(4, 2), seed=0)
    model.build((None, image_size, image_size, 3))
    images = np.random.default_rng(0).uniform(
        -1.0, 1.0, (batch_size, image_size, image_size, 3)
    )
    images = images.astype("float32")
    train = _train_step(model, {"image": images})
    encode = _compiled(model.encode)
    decode = _compiled(model.decode)
    start = time.perf_counter()
    train()
    device_images = keras.ops.convert_to_tensor(images)
    codes = encode(device_images)
    _wait(decode(codes))
    compile_s = time.perf_counter() - start
    train_s = _median_seconds(train, repeats)
    encode_s = _median_seconds(lambda: encode(device_images), repeats)
    decode_s = _median_seconds(lambda: decode(codes), repeats)
    return {
        "image_size": image_size,
        "batch_size": batch_size,
        "train_step_s": train_s,
        "train_images_per_s": batch_size / train_s,
        "encode_images_per_s": batch_size / encode_s,
        "decode_images_per_s": batch_size / decode_s,
        "compile_s": compile_s,
    }


def prior_training(arguments, batch_size, repeats):
    """Times one training step of a prior.

    Returns:
        dict of `parameters`, `train_step_s` (seconds of an optimizer step with
        the averages' update, median), `train_codes_per_s`, `compile_s`
        (seconds of the first call) and `peak_gib` (most memory that the process
        ever held).
    """
    model = PixelSNAIL(num_codes=512, num_heads=8, kernel_size=5, **arguments)
    model.build()
    rng = np.random.default_rng(0)
    codes = rng.integers(512, size=(batch_size, *model.map_size))
    batch = {
        "codes": (codes.astype("int32"),),
        "label": np.zeros((batch_size,), "int32"),
    }
    train = _train_step(model, batch)
    compile_s, _ = _timed(train)
    train_s = _median_seconds(train, repeats)
    return {
        **{name: arguments[name] for name in ("map_size", "hidden_units")},
        "layers": arguments["num_layers"],
        "batch_size": batch_size,
        "parameters": model.count_params(),
        "train_step_s": train_s,
        "train_codes_per_s": codes.size / train_s,
        "compile_s": compile_s,
        # Linux counts in KiB.
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def sampling(arguments, batch_size, repeats):
    """Times the sampling of one prior's code maps.

    Returns:
        dict of `sample_s` (seconds of a batch, incremental, median),
        `seconds_per_image`, `seconds_per_position`, `forward_s` (one pass over
        the whole map), `times_naive` (positions forward passes over one
        sampling) and `compile_s` (what the first call takes longer).
    """
    prior = PixelSNAIL(num_codes=512, num_heads=8, kernel_size=5, **arguments)
    height, width = prior.map_size
    prior.build((None, height, width))
    draw = _compiled_sampler(
        lambda first_image, size: sample(
            prior, batch_size=size, first_image=first_image
        ),
        batch_size,
    )
    forward = _compiled(lambda codes: prior(codes))
    first_s, codes = _timed(draw)
    _wait(forward(codes))
    sample_s = _median_seconds(draw, repeats)
    forward_s = _median_seconds(lambda: forward(codes), repeats)
    return {
        **{name: arguments[name] for name in ("map_size", "hidden_units")},
        "layers": arguments["num_layers"],
        "batch_size": batch_size,
        "sample_s": sample_s,
        "seconds_per_image": sample_s / batch_size,
        "seconds_per_position": sample_s / (height * width),
        "forward_s": forward_s,
        "times_naive": forward_s * height * width / sample_s,
        "compile_s": first_s - sample_s,
    }


def paper_sampling(batch_size, repeats):
    """Times ImageNet pictures of 256x256: both priors, then the decoder.

    Returns:
        dict of `sample_s` (seconds of a batch, median), `decode_s`,
        `seconds_per_image` (of both) and `compile_s` (what the first call of
        the samplers takes longer).
    """
    priors = []
    for arguments in PAPER_PRIORS:
        prior = PixelSNAIL(
            num_codes=512, num_heads=8, kernel_size=5, **arguments
        )
        prior.build((None, *prior.map_size))
        priors.append(prior)
    model = VQVAE2(strides=(4, 2), seed=0)
    model.build((None, 256, 256, 3))
    draw = _compiled_sampler(
        lambda first_image, size: sample_levels(
            priors,
            labels=keras.ops.zeros((size,), dtype="int32"),
            first_image=first_image,
        ),
        batch_size,
    )
    decode = _compiled(model.decode)
    first_s, codes = _timed(draw)
    _wait(decode(codes))
    sample_s = _median_seconds(draw, repeats)
    decode_s = _median_seconds(lambda: decode(codes), repeats)
    return {
        "batch_size": batch_size,
        "sample_s": sample_s,
        "decode_s": decode_s,
        "seconds_per_image": (sample_s + decode_s) / batch_size,
        "compile_s": first_s - sample_s,
    }


def _train_step(model, batch):
    """A function that takes one training step on the same batch."""
    optimizer = keras.optimizers.Adam(2e-4)
    optimizer.build(model.trainable_variables)
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_step(model, optimizer, batch)
    return _jax_step(model, optimizer, batch)


def _tensorflow_step(model, optimizer, batch):
    import tensorflow as tf

    from vqvae2_tf.training.loop import make_train_function
    from vqvae2_tf.training.polyak import PolyakAverage

    polyak = PolyakAverage(model.trainable_variables, 0.9999)
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    run_steps = make_train_function(
        model, optimizer, polyak, tf.distribute.get_strategy()
    )
    return lambda: run_steps(batches, tf.constant(1))[0]


def _jax_step(model, optimizer, batch):
    import jax

    trainable = model.trainable_variables
    others = model.non_trainable_variables

    def loss_of(values, other_values, batch):
        mapping = [
            *zip(trainable, values, strict=True),
            *zip(others, other_values, strict=True),
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            loss, _ = model.loss_and_statistics(batch, training=True)
        return loss, [scope.get_current_value(v) for v in others]

    @jax.jit
    def step(values, other_values, averages, slots, batch):
        (loss, other_values), gradients = jax.value_and_grad(
            loss_of, has_aux=True
        )(values, other_values, batch)
        values, slots = optimizer.stateless_apply(slots, gradients, values)
        averages = [
            0.9999 * average + 0.0001 * value
            for average, value in zip(averages, values, strict=True)
        ]
        return loss, values, other_values, averages, slots

    state = [
        [variable.value for variable in trainable],
        [variable.value for variable in others],
        [variable.value for variable in trainable],
        [variable.value for variable in optimizer.variables],
    ]
    batch = jax.tree.map(jax.numpy.asarray, batch)

    def train():
        loss, *state[:] = step(*state, batch)
        return loss

    return train


def _compiled_sampler(draw, batch_size):
    """`draw(first_image, size)` of a batch, compiled as users get it."""

    def draw_batch(images):
        size = images.shape[0]
        return draw(images - keras.ops.arange(size, dtype="int32"), size)

    if keras.backend.backend() == "tensorflow":
        from vqvae2_tf.compiled_sampler import compile_sampler

        compiled = compile_sampler(draw_batch)
    else:
        compiled = _compiled(draw_batch)
    images = keras.ops.arange(batch_size, dtype="int32")
    return lambda: compiled(images)


def _compiled(function):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    import jax

    return jax.jit(function)


def _median_seconds(function, repeats):
    return statistics.median(_timed(function)[0] for _ in range(repeats))


def _timed(function):
    """Seconds of a call, and what it gave."""
    start = time.perf_counter()
    output = function()
    _wait(output)
    return time.perf_counter() - start, output


def _wait(outputs):
    """Waits until the outputs are computed."""
    for output in keras.tree.flatten(outputs):
        if hasattr(output, "block_until_ready"):
            output.block_until_ready()
        else:
            np.asarray(output)


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
    priors = PAPER_PRIORS[:1] if paper_size else PRIORS
    batches = _integers("batch_sizes", "1" if paper_size else "8,2")
    if len(priors) != len(batches):
        sys.exit(
            f"error: --batch_sizes: expected {len(priors)}, one for each "
            f"prior. Received: {len(batches)}"
        )
    changes = {"rematerialize": flags.FLAGS.rematerialize}
    return [
        prior_training({**arguments, **changes}, batch, flags.FLAGS.repeats)
        for arguments, batch in zip(priors, batches, strict=True)
    ]


def measure_sampling():
    """The rows of `sampling`, one a prior and batch size."""
    batches = _integers("batch_sizes", "1,16")
    if flags.FLAGS.paper_size:
        return [paper_sampling(b, flags.FLAGS.repeats) for b in batches]
    return [
        sampling(arguments, batch, flags.FLAGS.repeats)
        for arguments in (SCALING_PRIORS if flags.FLAGS.scaling else PRIORS)
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

"""Times the project's main jobs and prints the figures as JSON.

    python tools/benchmark.py stage1
    KERAS_BACKEND=jax python tools/benchmark.py stage1 --image_sizes=256

`stage1` times training, encoding and decoding of the VQ-VAE-2 on random
pictures. Runs on either backend; TensorFlow is not needed under JAX.
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
import numpy as np
from absl import app
from absl import flags

from vqvae2_tf.models import VQVAE2

JOBS = ("stage1",)

flags.DEFINE_list("image_sizes", "64,128,256", "Pixels, height and width.")
flags.DEFINE_list("batch_sizes", "32,16,8", "One for each of --image_sizes.")
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
    train = _train_step(model, images)
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


def _train_step(model, images):
    """A function that takes one training step on the same pictures."""
    optimizer = keras.optimizers.Adam(2e-4)
    optimizer.build(model.trainable_variables)
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_step(model, optimizer, images)
    return _jax_step(model, optimizer, images)


def _tensorflow_step(model, optimizer, images):
    import tensorflow as tf

    from vqvae2_tf.training.loop import make_train_function
    from vqvae2_tf.training.polyak import PolyakAverage

    polyak = PolyakAverage(model.trainable_variables, 0.9999)
    data = tf.data.Dataset.from_tensors({"image": tf.constant(images)})
    batches = iter(data.repeat())
    run_steps = make_train_function(
        model, optimizer, polyak, tf.distribute.get_strategy()
    )
    return lambda: run_steps(batches, tf.constant(1))[0]


def _jax_step(model, optimizer, images):
    import jax

    trainable = model.trainable_variables
    others = model.non_trainable_variables

    def loss_of(values, other_values, images):
        mapping = [
            *zip(trainable, values, strict=True),
            *zip(others, other_values, strict=True),
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            loss, _ = model.loss_and_statistics(
                {"image": images}, training=True
            )
        return loss, [scope.get_current_value(v) for v in others]

    @jax.jit
    def step(values, other_values, averages, slots, images):
        (loss, other_values), gradients = jax.value_and_grad(
            loss_of, has_aux=True
        )(values, other_values, images)
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
    images = jax.numpy.asarray(images)

    def train():
        loss, *state[:] = step(*state, images)
        return loss

    return train


def _compiled(function):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    import jax

    return jax.jit(function)


def _median_seconds(function, repeats):
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        _wait(function())
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _wait(outputs):
    """Waits until the outputs are computed."""
    for output in keras.tree.flatten(outputs):
        if hasattr(output, "block_until_ready"):
            output.block_until_ready()
        else:
            np.asarray(output)


def measure(job):
    """The rows of a job, one a configuration."""
    sizes = [int(size) for size in flags.FLAGS.image_sizes]
    batches = [int(size) for size in flags.FLAGS.batch_sizes]
    if len(sizes) != len(batches):
        sys.exit(
            "error: --batch_sizes: expected one for each of --image_sizes. "
            f"Received: {len(batches)} for {len(sizes)}"
        )
    assert job == "stage1"
    return [
        stage1(size, batch, flags.FLAGS.repeats)
        for size, batch in zip(sizes, batches, strict=True)
    ]


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
        report["rows"] = measure(arguments[1])
    else:
        command = shlex.split(flags.FLAGS.against)
        rounds = []
        for _ in range(flags.FLAGS.rounds):
            ours = measure(arguments[1])
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
        {name: statistics.median(row[name] for row in rows) for name in rows[0]}
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

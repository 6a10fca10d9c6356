"""Compiled functions and training steps, and how long they take."""

import itertools
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import keras
import numpy as np

from vqvae2_tf.training.devices import open_devices
from vqvae2_tf.training.plan import TrainingPlan
from vqvae2_tf.training.plan import make_state


class Times(NamedTuple):
    """The first call's seconds, the later ones' median, and the outputs."""

    first_s: float
    median_s: float
    outputs: Any


def measure(repeats: int, function: Callable, *arguments) -> Times:
    """Times a function's first call, which compiles it, and `repeats` more."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        outputs = function(*arguments)
        for output in keras.tree.flatten(outputs):
            if hasattr(output, "block_until_ready"):
                output.block_until_ready()
            else:
                np.asarray(output)
        seconds.append(time.perf_counter() - start)
    return Times(seconds[0], statistics.median(seconds[1:]), outputs)


def measure_steps(repeats: int, run: Callable) -> Times:
    """Times the first training step, and `repeats` runs of later ones.

    A run is of as many steps as take a second; the median is of one step.

    Args:
        repeats: Number of runs.
        run: As `train_step` gives it.
    """
    times = measure(1, run, 1)
    count = max(1, int(1.0 / times.median_s))
    later = measure(repeats, run, count)
    return times._replace(median_s=later.median_s / count)


def peak_gib() -> float:
    """The most memory that the process has held: the accelerator's, if any."""
    if keras.backend.backend() == "jax":
        import jax

        # CPUs have none.
        if found := jax.local_devices()[0].memory_stats():
            return found["peak_bytes_in_use"] / 2**30
    # Linux counts in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def devices() -> list[str]:
    """Names of the devices that the backend uses."""
    if keras.backend.backend() == "jax":
        import jax

        return [device.device_kind for device in jax.devices()]
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices()]


def compiled(function: Callable, model: keras.Model) -> Callable:
    """A function, compiled by the backend; on TensorFlow a graph.

    Args:
        function: Of tensors; calls the model and changes nothing in it.
        model: Built.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    import jax

    # As arguments: weights of a closure would be constants of the program,
    # which is compiled for minutes when they are gigabytes.
    @jax.jit
    def call(values, *arguments):
        mapping = zip(model.variables, values, strict=True)
        with keras.StatelessScope(state_mapping=mapping):
            return function(*arguments)

    return lambda *args: call([v.value for v in model.variables], *args)


def compiled_sampler(draw: Callable, model: keras.Model) -> Callable:
    """A function that draws a batch, compiled as exports have it."""
    if keras.backend.backend() == "tensorflow":
        from vqvae2_tf.export.compiled_sampler import compile_sampler

        return compile_sampler(draw)
    return compiled(draw, model)


def train_step(
    model: keras.Model, batch: dict[str, Any], accumulation_steps: int = 1
) -> Callable:
    """A function of a number of training steps, all on the same batch.

    Args:
        model: A `Trainable`, built.
        batch: Of tensors.
        accumulation_steps: As in a `TrainingPlan`.
    """
    plan = TrainingPlan(
        steps=1,
        batch_size=len(keras.tree.flatten(batch)[0]),
        make_optimizer=lambda: keras.optimizers.Adam(2e-4),
        polyak_decay=0.9999,
        accumulation_steps=accumulation_steps,
        seed=0,
        steps_per_call=1,
        validate_every=1,
    )
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_steps(model, plan, batch)
    batch = keras.tree.map_structure(np.asarray, batch)
    return open_devices("one").trainer(model, _Same(batch), plan).run


def _tensorflow_steps(model, plan, batch):
    import tensorflow as tf

    from vqvae2_tf.training.tensorflow import make_train_function

    optimizers, averages, _ = make_state(model, plan)
    strategy = tf.distribute.get_strategy()
    run_steps = make_train_function(
        model, optimizers, averages, strategy, plan.accumulation_steps
    )
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    return lambda count: run_steps(batches, tf.constant(count))[0]


class _Same:
    """`Examples` that are one batch again and again."""

    def __init__(self, batch):
        self._batch = batch

    def training_arrays(self, batch_size, seed, start_step, share):
        return itertools.repeat(self._batch)

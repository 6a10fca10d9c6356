"""Compiled functions and training steps, and how long they take."""

import functools
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import keras
import numpy as np


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


def peak_gib() -> float:
    """The most memory that the process has held."""
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


def train_step(model: keras.Model, batch: dict[str, Any]) -> Callable:
    """A function that takes one training step, on the same batch each time.

    Args:
        model: A `Trainable`, built; on JAX with one objective.
        batch: Of tensors.
    """
    optimizers = {}
    for name, variables in model.objectives().items():
        optimizers[name] = keras.optimizers.Adam(2e-4)
        optimizers[name].build(variables)
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_step(model, optimizers, batch)
    return _jax_step(model, *optimizers.values(), batch)


def _tensorflow_step(model, optimizers, batch):
    import tensorflow as tf

    from vqvae2_tf.training.averages import Averages
    from vqvae2_tf.training.tensorflow import make_train_function

    averages = Averages(model.trainable_variables, 0.9999)
    strategy = tf.distribute.get_strategy()
    run_steps = make_train_function(model, optimizers, averages, strategy)
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    return lambda: run_steps(batches, tf.constant(1))[0]


def _jax_step(model, optimizer, batch):
    import jax

    trainable = model.trainable_variables
    others = model.non_trainable_variables
    variables = [*trainable, *others]

    @functools.partial(jax.value_and_grad, has_aux=True)
    def gradient(values, other_values, batch):
        mapping = zip(variables, [*values, *other_values], strict=True)
        with keras.StatelessScope(state_mapping=mapping) as scope:
            loss, _ = model.loss_and_statistics(batch, training=True)
        return loss, [scope.get_current_value(v) for v in others]

    def move(average, value):
        return 0.9999 * average + 0.0001 * value

    @jax.jit
    def step(values, other_values, averages, slots, batch):
        (loss, others), gradients = gradient(values, other_values, batch)
        values, slots = optimizer.stateless_apply(slots, gradients, values)
        averages = jax.tree.map(move, averages, values)
        return loss, values, others, averages, slots

    groups = (trainable, others, trainable, optimizer.variables)
    state = [[variable.value for variable in group] for group in groups]

    def train():
        loss, *state[:] = step(*state, batch)
        return loss

    return train

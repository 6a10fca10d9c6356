"""Compiled functions and training steps, and how long they take."""

import resource
import statistics
import time

import keras
import numpy as np


def compiled(function, models):
    """The function, compiled by the backend; on TensorFlow a graph.

    Args:
        function: Of tensors; calls the models and changes nothing in them.
        models: Those that it calls.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    import jax

    variables = [v for model in models for v in model.variables]

    # As arguments: weights of a closure would be constants of the program,
    # which is compiled for minutes when they are gigabytes.
    @jax.jit
    def call(values, *arguments):
        mapping = list(zip(variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return function(*arguments)

    return lambda *arguments: call([v.value for v in variables], *arguments)


def median_seconds(function, repeats):
    return statistics.median(timed(function)[0] for _ in range(repeats))


def timed(function):
    """Seconds of a call, and what it gave."""
    start = time.perf_counter()
    output = function()
    wait(output)
    return time.perf_counter() - start, output


def peak_gib():
    """Most memory that the process ever held."""
    # Linux counts in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def wait(outputs):
    """Waits until the outputs are computed."""
    for output in keras.tree.flatten(outputs):
        if hasattr(output, "block_until_ready"):
            output.block_until_ready()
        else:
            np.asarray(output)


def train_step(model, batch):
    """A function that takes one training step on the same batch."""
    optimizer = keras.optimizers.Adam(2e-4)
    optimizer.build(model.trainable_variables)
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_step(model, optimizer, batch)
    return _jax_step(model, optimizer, batch)


def _tensorflow_step(model, optimizer, batch):
    import tensorflow as tf

    from vqvae2_tf.training.averages import Averages
    from vqvae2_tf.training.tensorflow import make_train_function

    (objective,) = model.objectives()
    averages = Averages(model.trainable_variables, 0.9999)
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    run_steps = make_train_function(
        model,
        {objective: optimizer},
        averages,
        tf.distribute.get_strategy(),
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

"""Sums over replicas: the only layer code that may use TensorFlow."""

from collections.abc import Callable

import keras
from keras import ops


def _replica_context():
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    return tf.distribute.get_replica_context()


def replica_id_and_count() -> tuple:
    """This replica's index, and the number of replicas in a step.

    Returns:
        Tuple of two integers (the index may be a tensor); `(0, 1)` outside
        `tf.distribute`, and on JAX, where a compiled function computes with
        the whole batch.
    """
    context = _replica_context()
    if context is None:
        return 0, 1
    return (
        context.replica_id_in_sync_group,
        context.strategy.num_replicas_in_sync,
    )


def sum_over_replicas(tensors: list) -> list:
    """Sums each tensor over all replicas of the current step.

    Args:
        tensors: List of tensors, of the same shape on every replica.

    Returns:
        List of the sums, equal on every replica; the tensors themselves if
        there is only one replica.
    """
    context = _replica_context()
    if context is None or context.strategy.num_replicas_in_sync == 1:
        return tensors
    return context.all_reduce("SUM", tensors)


def sum_over_replicas_if(needed, make: Callable, shape: tuple):
    """Sums a tensor over all replicas, in the steps that need it alone.

    In other steps nothing is computed, and nothing is sent.

    Args:
        needed: Scalar bool tensor, equal on every replica.
        make: Function without arguments to this replica's addend, float32, of
            at least one axis.
        shape: The addend's shape.

    Returns:
        The sum if it is needed, else zeros.
    """

    def whole():
        return sum_over_replicas([make()])[0]

    def zeros():
        return ops.zeros(shape, "float32")

    context = _replica_context()
    if context is None or context.strategy.num_replicas_in_sync == 1:
        return ops.cond(needed, whole, zeros)
    import tensorflow as tf

    if isinstance(context.strategy, tf.distribute.TPUStrategy):
        return tf.cond(needed, whole, zeros)

    # The other strategies trace replicas in threads that meet to sum, which
    # they cannot inside a condition: the condition is where they have met.
    # What they pass there and back in the other steps has no rows.
    def nothing():
        return tf.zeros((0, *shape[1:]))

    def where_they_meet(strategy, needed, part):
        needed = strategy.experimental_local_results(needed)[0]
        return tf.cond(
            needed, lambda: strategy.reduce("SUM", part, axis=None), nothing
        )

    part = tf.cond(needed, make, nothing)
    total = context.merge_call(where_they_meet, args=(needed, part))
    return tf.cond(needed, lambda: tf.ensure_shape(total, shape), zeros)

"""Sums over replicas: the one place in the layers that may touch TensorFlow."""

import keras


def _replica_context():
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    return tf.distribute.get_replica_context()


def replica_id_and_count() -> tuple:
    """This replica's index, and how many replicas step together.

    Returns:
        `(0, 1)` outside `tf.distribute` and on backends whose compiled
        functions see the whole batch (JAX).
    """
    context = _replica_context()
    if context is None:
        return 0, 1
    return (
        context.replica_id_in_sync_group,
        context.strategy.num_replicas_in_sync,
    )


def sum_over_replicas(tensors: list) -> list:
    """Sums each tensor over all replicas of the running step.

    Args:
        tensors: List of tensors, of the same shape on every replica.

    Returns:
        List of the sums, equal on every replica; the tensors themselves where
        there is one replica.
    """
    context = _replica_context()
    if context is None or context.strategy.num_replicas_in_sync == 1:
        return list(tensors)
    import tensorflow as tf

    return context.all_reduce(tf.distribute.ReduceOp.SUM, list(tensors))

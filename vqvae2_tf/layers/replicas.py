"""Sums over replicas: the only layer code that may use TensorFlow."""

import keras


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

"""Helpers for layers that recompute activations in the backward pass."""

import keras
from keras import ops

from vqvae2_tf.layers.replicas import replica_id_and_count


class DrawnSeed(keras.random.SeedGenerator):
    """A seed that is drawn from a generator once and then stays the same.

    A recomputation in the backward pass must drop the same values as the
    forward pass, but a generator returns a new seed at each use. Each replica
    gets a different seed, whereas a generator gives all replicas the same.

    Args:
        generator: `keras.random.SeedGenerator`.
    """

    def __init__(self, generator):
        # Without the base class's __init__, which creates a variable.
        seed = generator.next()
        replica, _ = replica_id_and_count()
        self._seed = seed + ops.cast(replica, seed.dtype)

    def after(self, x):
        """The same seed, available only after the float tensor `x`."""
        seed = object.__new__(DrawnSeed)
        seed._seed = self._seed + zero_after(x, self._seed.dtype)
        return seed

    def next(self, ordered=True):
        return self._seed


def zero_after(x, dtype):
    """A scalar 0 that depends on `x` (1 if `x` starts with a NaN).

    Adding it to the input of a computation orders the computation after `x`.
    It also keeps XLA, which cannot infer that it is 0, from merging a
    recomputation with the original.

    Args:
        x: float tensor.
        dtype: dtype of the scalar.
    """
    return ops.cast(ops.isnan(ops.reshape(x, (-1,))[0]), dtype)

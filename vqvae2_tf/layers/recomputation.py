"""What the layers share that compute parts of themselves twice."""

import keras
from keras import ops

from vqvae2_tf.layers.replicas import replica_id_and_count


class DrawnSeed(keras.random.SeedGenerator):
    """A seed drawn from a generator once, for random numbers drawn twice.

    What is computed again in the backward pass must drop the same values; a
    generator would give it a new seed. Each replica has a seed of its own,
    where generators give all of them the same.

    Args:
        generator: `keras.random.SeedGenerator`.
    """

    def __init__(self, generator):
        # Not the base's, which makes a variable.
        seed = generator.next()
        replica, _ = replica_id_and_count()
        self._seed = seed + ops.cast(replica, seed.dtype)

    def after(self, x):
        """The same seed, once the float tensor `x` is known."""
        seed = object.__new__(DrawnSeed)
        seed._seed = self._seed + zero_after(x, self._seed.dtype)
        return seed

    def next(self, ordered=True):
        return self._seed


def zero_after(x, dtype):
    """Scalar 0 that is known once `x` is (1 if `x` starts with a NaN).

    Added to an input, it makes a computation wait for `x`. It also keeps
    compilers, which cannot know that it is 0, from merging a recomputation
    with what it repeats.

    Args:
        x: float tensor.
        dtype: Of the scalar.
    """
    return ops.cast(ops.isnan(ops.reshape(x, (-1,))[0]), dtype)

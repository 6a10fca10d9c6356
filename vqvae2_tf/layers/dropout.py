"""Dropout whose masks are drawn in float32."""

import keras
from keras import ops


def dropout(x, rate, seed):
    """Sets elements to 0 at random and scales the others by 1 / (1 - rate).

    Keras draws the masks in the dtype of `x`: with bfloat16, which has 256
    numbers between 0.5 and 1, a rate of 0.3 drops a share of 0.3044.

    Args:
        x: float tensor of any shape.
        rate: Share of the elements to drop, in [0, 1).
        seed: `keras.random.SeedGenerator` or int.

    Returns:
        Tensor of the shape and dtype of `x`.
    """
    kept = is_kept(ops.shape(x), rate, seed)
    scaled = x * ops.cast(1.0 / (1.0 - rate), x.dtype)
    return ops.where(kept, scaled, ops.zeros_like(x))


def is_kept(shape, rate, seed):
    """Which elements dropout keeps, as bools of a shape; see `dropout`."""
    return keras.random.uniform(shape, seed=seed, dtype="float32") >= rate

"""Ancestral sampling by one full forward pass a position."""

import math

from keras import ops


def sample_naive(prior, noise, labels=None, coarser=(), temperature=1.0):
    """Samples code maps, one full forward pass a position.

    The reference that faster samplers are compared with, code for code
    (Gumbel-max: the code at a position is the argmax of logits / temperature
    plus noise; VQ-VAE-2, algorithm 2).

    Args:
        prior: Called as `prior(codes, labels=, coarser=)`, gives logits
            `[B, H, W, K]`; has `map_size`.
        noise: Function of an int32 scalar, the position in raster order, to
            Gumbel noise `[B, K]` float32.
        labels: `[B]` int32, if the prior has classes.
        coarser: List of `[B, h, w]` int32, coarsest first.
        temperature: Positive float or scalar tensor.

    Returns:
        Codes `[B, H, W]` int32.
    """
    height, width = prior.map_size
    num_positions = math.prod(prior.map_size)
    batch_size = ops.shape(noise(0))[0]
    positions = ops.arange(num_positions, dtype="int32")

    def step(position, codes):
        logits = prior(
            ops.reshape(codes, (-1, height, width)),
            labels=labels,
            coarser=coarser,
        )
        logits = ops.reshape(logits, (batch_size, num_positions, -1))
        logits = ops.take(logits, position, axis=1) / temperature
        chosen = ops.argmax(logits + noise(position), axis=-1)
        return ops.where(
            positions == position, ops.cast(chosen, "int32")[:, None], codes
        )

    codes = ops.zeros((batch_size, num_positions), dtype="int32")
    codes = ops.fori_loop(0, num_positions, step, codes)
    return ops.reshape(codes, (batch_size, height, width))

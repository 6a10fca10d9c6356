"""Ancestral sampling by one full forward pass a position."""

import math

from keras import ops


def sample_naive(prior, noise, choose, batch_size, labels=None, coarser=()):
    """Samples code maps, one full forward pass a position.

    The reference that faster samplers are compared with, code for code
    (VQ-VAE-2, algorithm 2).

    Args:
        prior: Called as `prior(codes, labels=, coarser=)`, gives logits
            `[B, H, W, K]`; has `map_size`.
        noise: Function of positions `[P]` int32 in raster order to random
            numbers `[B, P, K]` float32.
        choose: Function of logits `[B, K]` float32, the noise `[B, K]` of
            their position and the position, an int32 scalar, to codes `[B]`
            int32.
        batch_size: B.
        labels: `[B]` int32, if the prior has classes.
        coarser: List of `[B, h, w]` int32, coarsest first.

    Returns:
        Codes `[B, H, W]` int32.
    """
    height, width = prior.map_size
    num_positions = math.prod(prior.map_size)
    positions = ops.arange(num_positions, dtype="int32")

    def step(position, codes):
        logits = prior(
            ops.reshape(codes, (-1, height, width)),
            labels=labels,
            coarser=coarser,
        )
        logits = ops.reshape(logits, (batch_size, num_positions, -1))
        chosen = choose(
            ops.take(logits, position, axis=1),
            noise(ops.reshape(ops.cast(position, "int32"), (1,)))[:, 0],
            position,
        )
        return ops.where(positions == position, chosen[:, None], codes)

    codes = ops.zeros((batch_size, num_positions), dtype="int32")
    codes = ops.fori_loop(0, num_positions, step, codes)
    return ops.reshape(codes, (batch_size, height, width))

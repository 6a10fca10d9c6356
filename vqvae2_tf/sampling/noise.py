"""Random numbers that are the same on every backend, compiled or not.

Backends and compilers draw different uniform numbers from one seed; only
integer arithmetic agrees everywhere. So the bits come from a counter-based
generator in `keras.ops`, and each number depends only on (seed, sample id,
level, position, index), never on the batch it is drawn in.
"""

import dataclasses
from typing import Any

from keras import ops

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry_2x32(key, counter):
    """Threefry-2x32 with 20 rounds (Salmon et al., SC 2011).

    Args:
        key: Pair of uint32 tensors.
        counter: Pair of uint32 tensors; all four broadcast.

    Returns:
        Pair of uint32 tensors of random bits.
    """
    k0, k1 = key
    keys = (k0, k1, k0 ^ k1 ^ ops.cast(0x1BD11BDA, "uint32"))
    x0, x1 = counter[0] + k0, counter[1] + k1
    for block in range(5):
        for rotation in _ROTATIONS[block % 2]:
            x0 = x0 + x1
            x1 = ops.bitwise_or(
                ops.bitwise_left_shift(x1, ops.cast(rotation, "uint32")),
                ops.bitwise_right_shift(x1, ops.cast(32 - rotation, "uint32")),
            )
            x1 = ops.bitwise_xor(x0, x1)
        x0 = x0 + keys[(block + 1) % 3]
        x1 = x1 + keys[(block + 2) % 3] + ops.cast(block + 1, "uint32")
    return x0, x1


@dataclasses.dataclass(frozen=True)
class Noise:
    """The random numbers of one level's samples.

    Args:
        seed: int or integer scalar tensor, taken modulo 2^32.
        sample_ids: `[B]` int32, the number of each sample.
        level: Number of the level, below 256, so that levels differ.
    """

    seed: Any
    sample_ids: Any
    level: int = 0

    @property
    def batch_size(self):
        """B; a tensor if it is only known at run time."""
        size = self.sample_ids.shape[0]
        return ops.shape(self.sample_ids)[0] if size is None else size

    def bits(self, positions, count, step=0):
        """Random bits.

        Args:
            positions: `[P]` int32, positions in raster order, below 2^24.
            count: Numbers at a position, at most 2^25.
            step: Number of the decoding step, below 256.

        Returns:
            `[B, P, count]` uint32.
        """
        half = (count + 1) // 2
        stream = self.level + 256 * step
        indices = ops.arange(half, dtype="int32")
        positions = ops.cast(positions, "uint32")[None, :, None]
        if half > 65536:
            # Those after are another level's, so the position tells them.
            high = ops.cast(indices // 65536 * 2**24, "uint32")
            positions, indices = positions + high, indices % 65536
        indices = ops.cast(indices, "uint32")
        indices = indices + ops.cast(stream * 65536, "uint32")
        seed = self.seed % 2**32 if isinstance(self.seed, int) else self.seed
        sample_ids = ops.cast(self.sample_ids, "uint32")
        pair = threefry_2x32(
            (ops.cast(seed, "uint32"), sample_ids[:, None, None]),
            (positions, indices),
        )
        return ops.concatenate(pair, axis=-1)[..., :count]

    def gumbel(self, positions, count, step=0):
        """Standard Gumbel noise, `[B, P, count]` float32; see `bits`."""
        return gumbel(self.bits(positions, count, step))


def gumbel(bits):
    """Standard Gumbel noise of random bits.

    Args:
        bits: uint32 of any shape; the upper 23 are used.

    Returns:
        float32 of the same shape, in [-2.82, 16.7], always finite.
    """
    # (b + 0.5) / 2^23 is exact in float32 and never 0 or 1.
    upper = ops.bitwise_right_shift(bits, ops.cast(9, "uint32"))
    uniform = (ops.cast(upper, "float32") + 0.5) * 2.0**-23
    return -ops.log(-ops.log(uniform))

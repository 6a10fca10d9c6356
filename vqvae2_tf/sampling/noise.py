"""Random numbers that are the same on every backend, compiled or not.

Backends and compilers draw different uniform numbers from one seed; only
integer arithmetic agrees everywhere. So the bits come from a counter-based
generator in `keras.ops`, and each number depends only on (seed, image,
position, code), never on the batch it is drawn in.
"""

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


def random_bits(seed, images, positions, num_codes, stream=0):
    """uint32 bits for each image, position and code.

    Args:
        seed: int or integer scalar tensor, taken modulo 2^32.
        images: `[B]` int32, the number of each image in the whole sample.
        positions: `[P]` int32, positions in raster order.
        num_codes: K, at most 131,072.
        stream: int below 65,536; the level, so that levels differ.

    Returns:
        `[B, P, K]` uint32.
    """
    if isinstance(seed, int):
        seed %= 2**32
    half = (num_codes + 1) // 2
    codes = ops.cast(ops.arange(half), "uint32")
    codes = codes + ops.cast(stream * 65536, "uint32")
    key = (
        ops.cast(seed, "uint32"),
        ops.cast(images, "uint32")[:, None, None],
    )
    counter = (ops.cast(positions, "uint32")[None, :, None], codes)
    first, second = threefry_2x32(key, counter)
    return ops.concatenate([first, second], axis=-1)[..., :num_codes]


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

"""Resizing of images before a network, which its features depend on."""

import numpy as np
from keras import ops


def bilinear_tf1(images, size: int):
    """Bilinear interpolation as TensorFlow 1 had it.

    Pixel i of the result lies at i * old / new: there are no half-pixel
    centres, and no antialiasing where images shrink. The published Inception
    graph resizes so, and with it all published FIDs.

    Args:
        images: `[B, H, W, C]` of any dtype.
        size: Height and width of the result.

    Returns:
        `[B, size, size, C]` float32 in the range of the images.
    """
    images = ops.cast(images, "float32")
    for axis in (2, 1):
        length = images.shape[axis]
        scale = np.float32(length) / np.float32(size)
        positions = np.arange(size, dtype="float32") * scale
        low = positions.astype("int32")
        high = np.minimum(low + 1, length - 1)
        share = (positions - low).reshape([-1] + [1] * (3 - axis))
        first = ops.take(images, low, axis)
        images = first + (ops.take(images, high, axis) - first) * share
    return images


def bicubic(images, size: int):
    """Bicubic interpolation with antialiasing, as Pillow's.

    Args:
        images: `[B, H, W, C]` in [0, 255], of any dtype.
        size: Height and width of the result.

    Returns:
        `[B, size, size, C]` float32 in [0, 255], not rounded.
    """
    images = ops.cast(images, "float32")
    _, height, width, _ = images.shape
    images = ops.einsum("bhwc,sw->bhsc", images, _cubic_weights(width, size))
    images = ops.einsum("bhwc,sh->bswc", images, _cubic_weights(height, size))
    return ops.clip(images, 0.0, 255.0)


def _cubic_weights(length, size):
    """`[size, length]` float32: each new pixel as a mean of old ones."""
    scale = length / size
    stretch = max(scale, 1.0)
    centres = (np.arange(size) + 0.5) * scale
    pixels = np.arange(length) + 0.5
    x = np.abs(pixels - centres[:, None]) / stretch
    # Keys' kernel of a = -0.5.
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return (weights / weights.sum(1, keepdims=True)).astype("float32")

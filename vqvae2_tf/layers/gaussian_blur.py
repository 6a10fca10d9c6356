"""Gaussian blur with reflected borders."""

import numpy as np
from keras import ops


def blur_kernel_size(image_size):
    """Width of the kernel for images of a size (MS-VQVAE, equation 7).

    The paper's `sqrt(r) - 1` is 31 at 1024 pixels and 15 at 256; elsewhere it
    is rounded to the nearest odd number, and is at least 3.

    Args:
        image_size: `(height, width)` in pixels; the shorter side is r.
    """
    return max(2 * round(min(image_size) ** 0.5 / 2 - 1) + 1, 3)


def blur_deviation(kernel_size):
    """Standard deviation in pixels for a kernel's width (equation 8)."""
    return ((kernel_size - 1) / 2 - 1) / 3 + 0.8


def gaussian_blur(images, kernel_size, deviation):
    """Blurs images along both axes.

    Borders are reflected about the centres of the outermost pixels, which are
    not repeated.

    Args:
        images: `[B, H, W, C]` float32; H and W above `kernel_size // 2`.
        kernel_size: Odd width of the kernel, which is cut off there and scaled
            to the sum 1.
        deviation: Standard deviation in pixels.

    Returns:
        `[B, H, W, C]` float32.
    """
    radius = kernel_size // 2
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    weights = (weights / weights.sum()).astype("float32")
    channels = images.shape[-1]
    for shape in ((-1, 1, 1, 1), (1, -1, 1, 1)):
        kernel = np.tile(weights.reshape(shape), (1, 1, channels, 1))
        borders = [(0, 0)] + [(n // 2,) * 2 for n in kernel.shape[:2]]
        images = ops.pad(images, [*borders, (0, 0)], mode="reflect")
        images = ops.depthwise_conv(images, kernel)
    return images

"""Structural similarity of images, in NumPy."""

import numpy as np

# Of Wang et al.: a Gaussian window of 11 pixels, and the two constants.
_SIZE, _DEVIATION = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def ssim(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """SSIM of pairs of images (Wang et al. 2004).

    The mean over the channels and over all positions of the window that lie
    inside the image. Computed in float64.

    Args:
        images: `[B, H, W, C]` in [0, 1]; H and W at least 11.
        others: As `images`.

    Returns:
        `[B]` float64, at most 1.

    Raises:
        ValueError: If the shapes differ, or an image is smaller than the
            window.
    """
    x, y = np.asarray(images, "float64"), np.asarray(others, "float64")
    if x.ndim != 4 or x.shape != y.shape or min(x.shape[1:3]) < _SIZE:
        raise ValueError(
            "Expected two arrays of one shape [B, H, W, C], H and W at least "
            f"{_SIZE}. Received: {x.shape} and {y.shape}"
        )
    mean_x, mean_y = _local_mean(x), _local_mean(y)
    var_x = _local_mean(x * x) - mean_x**2
    var_y = _local_mean(y * y) - mean_y**2
    covariance = _local_mean(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    likeness *= (2 * covariance + _C2) / (var_x + var_y + _C2)
    return likeness.mean(axis=(1, 2, 3))


def _local_mean(x):
    """Means in the window, at all of its positions inside the image."""
    offsets = np.arange(_SIZE) - _SIZE // 2
    weights = np.exp(-0.5 * (offsets / _DEVIATION) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        count = x.shape[axis] - _SIZE + 1
        shifted = (
            np.take(x, range(i, i + count), axis=axis) for i in range(_SIZE)
        )
        x = sum(w * part for w, part in zip(weights, shifted, strict=True))
    return x

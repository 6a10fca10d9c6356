"""Image files as arrays."""

import numpy as np

from vqvae2_tf.data import augmentation
from vqvae2_tf.data import decoding
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.files.atomic import read_bytes


def read_image(
    path: str, image_size: tuple[int, int], channels: int
) -> np.ndarray:
    """Reads an image as training reads validation images.

    Args:
        path: Path of an image of any size and mode.
        image_size: `(height, width)`; the image is scaled to cover it and
            cropped at the centre.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        `[*image_size, channels]` float32 in [-1, 1].

    Raises:
        UserError: If the file cannot be read or is no complete image.
    """
    try:
        data = read_bytes(path)
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise UserError(f"cannot be read: {reason}") from error
    try:
        image = decoding.decode_image(data, channels)
    except decoding.UnreadableImageError as error:
        raise UserError(f"cannot be decoded: {one_line(error)}") from error
    pixels = np.atleast_3d(decoding.cover(image, image_size)).astype("float32")
    return augmentation.center_crop(pixels / 255.0, image_size) * 2.0 - 1.0

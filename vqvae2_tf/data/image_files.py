"""Image files as arrays."""

import numpy as np
import tensorflow as tf
from PIL import UnidentifiedImageError

from vqvae2_tf.data import augmentation
from vqvae2_tf.data import decoding
from vqvae2_tf.errors import UserError


def read_image(
    path: str, image_size: tuple[int, int], channels: int
) -> np.ndarray:
    """Reads a picture as training reads those that are held out.

    Args:
        path: Of a picture of any size and mode.
        image_size: `(height, width)`; the picture is scaled to cover it, and
            the centre is cut out.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        `[*image_size, channels]` float32 in [-1, 1].

    Raises:
        UserError: If the file cannot be read or is no whole picture.
    """
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            picture = decoding.decode_image(file.read(), channels)
    except (decoding.UnreadableImageError, tf.errors.OpError) as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            raise UserError("is no picture of a known format") from error
        reason = " ".join(str(error).split())
        raise UserError(f"cannot be decoded: {reason}") from error
    pixels = np.asarray(decoding.cover(picture, image_size), "float32")
    pixels = pixels.reshape((*pixels.shape[:2], channels))
    return augmentation.center_crop(pixels / 255.0, image_size) * 2.0 - 1.0

"""Picture files of a folder, found and read."""

import os
from collections.abc import Collection

import numpy as np
import tensorflow as tf
from PIL import UnidentifiedImageError

from vqvae2_tf.data import augmentation
from vqvae2_tf.data import decoding
from vqvae2_tf.data.files import UserError


def list_files(folder: str, endings: Collection[str]) -> list[str]:
    """Files of a folder and its subfolders, hidden ones left out.

    Args:
        folder: Local, or what `tf.io.gfile` reads.
        endings: Of the files' names, in lower case, with the dot.

    Returns:
        Paths relative to the folder, sorted.

    Raises:
        UserError: If a file's name is not UTF-8.
    """
    paths = []
    try:
        walk = list(tf.io.gfile.walk(folder))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{folder} has a file whose name is not UTF-8 ({error.object!r}); "
            "rename it."
        ) from error
    for parent, _, names in walk:
        for name in names:
            if not name.startswith(".") and name.lower().endswith(
                tuple(endings)
            ):
                path = os.path.join(parent, name)
                paths.append(path[len(folder) :].lstrip("/"))
    return sorted(paths)


def read_picture(
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
            picture = decoding.decode_picture(file.read(), channels)
    except (decoding.UnreadablePictureError, tf.errors.OpError) as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            raise UserError("is no picture of a known format") from error
        reason = " ".join(str(error).split())
        raise UserError(f"cannot be decoded: {reason}") from error
    pixels = np.asarray(decoding.cover(picture, image_size), "float32")
    pixels = pixels.reshape((*pixels.shape[:2], channels))
    return augmentation.center_crop(pixels / 255.0, image_size) * 2.0 - 1.0

"""The files below a folder."""

import os
from collections.abc import Collection

import tensorflow as tf

from vqvae2_tf.errors import UserError


def list_files(folder: str, endings: Collection[str]) -> list[str]:
    """Files of a folder and its subfolders, except hidden ones.

    Args:
        folder: Local path, or any that `tf.io.gfile` reads.
        endings: Endings of the file names, in lower case, with the dot.

    Returns:
        Paths relative to the folder, sorted.

    Raises:
        UserError: If the name of a file is not UTF-8.
    """
    try:
        walk = list(tf.io.gfile.walk(folder))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{folder} has a file whose name is not UTF-8 ({error.object!r}); "
            "rename it."
        ) from error
    return sorted(
        os.path.join(parent, name)[len(folder) :].lstrip("/")
        for parent, _, names in walk
        for name in names
        if not name.startswith(".") and name.lower().endswith(tuple(endings))
    )

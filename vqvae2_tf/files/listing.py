"""The files below a folder."""

import os
from collections.abc import Collection

import tensorflow as tf

from vqvae2_tf.errors import UserError


def list_files(folder: str, endings: Collection[str]) -> list[str]:
    """Files of a folder and its subfolders, hidden ones left out.

    Args:
        folder: Local, or any that `tf.io.gfile` reads.
        endings: Endings of the files' names, in lower case, with the dot.

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

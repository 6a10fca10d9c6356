"""Files by path: local ones by Python, gs:// and the like by TensorFlow.

Local files need no TensorFlow, which may not be installed. Whatever the place,
errors are `OSError`s.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def opened(path: str, mode: str) -> Iterator[BinaryIO]:
    """Opens a file for the length of a block.

    Args:
        path: Path of the file.
        mode: `rb` or `wb`.

    Yields:
        The file, with `read`, `write` and `seek`.
    """
    if is_local(path):
        with open(path, mode) as file:
            yield file
    else:
        with _remote() as gfile, gfile.GFile(path, mode) as file:
            yield file


def is_local(path: str) -> bool:
    """Whether a path is none of TensorFlow's, such as gs://bucket/file."""
    return "://" not in path


def exists(path: str) -> bool:
    """Whether there is a file or a folder."""
    if is_local(path):
        return os.path.exists(path)
    with _remote() as gfile:
        return gfile.exists(path)


def is_folder(path: str) -> bool:
    """Whether there is a folder."""
    if is_local(path):
        return os.path.isdir(path)
    with _remote() as gfile:
        return gfile.isdir(path)


def make_folders(path: str) -> None:
    """Makes a folder, and those above it, unless they exist."""
    if is_local(path):
        os.makedirs(path, exist_ok=True)
    else:
        with _remote() as gfile:
            gfile.makedirs(path)


def rename(path: str, new: str) -> None:
    """Renames a file or a folder; a file that has the new name is replaced.

    Clouds have no folders to rename: their files are renamed one by one, those
    of the folder itself after those of the folders in it.
    """
    if is_local(path):
        os.replace(path, new)
        return
    with _remote() as gfile:
        if not gfile.isdir(path):
            gfile.rename(path, new, overwrite=True)
            return
        for folder, _, names in list(gfile.walk(path, topdown=False)):
            target = new + folder.rstrip("/").removeprefix(path)
            gfile.makedirs(target)
            for name in names:
                source = os.path.join(folder, name)
                gfile.rename(source, os.path.join(target, name), True)
    remove(path)


def remove(path: str) -> None:
    """Removes a file or a whole folder, if it exists."""
    if is_local(path):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.remove(path)
    else:
        # Some end with this error where a folder is only its files' names.
        with contextlib.suppress(FileNotFoundError), _remote() as gfile:
            if gfile.isdir(path):
                gfile.rmtree(path)
            elif gfile.exists(path):
                gfile.remove(path)


@contextlib.contextmanager
def _remote():
    """TensorFlow's file system, with errors turned into `OSError`s."""
    import tensorflow as tf

    try:
        yield tf.io.gfile
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(error.message) from error
    except tf.errors.OpError as error:
        raise OSError(error.message) from error

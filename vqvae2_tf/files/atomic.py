"""Files that are either whole or not there."""

import contextlib
import json
import os
import threading
from collections.abc import Iterator

import tensorflow as tf

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import is_disk_full

# Whether this process writes files: of several hosts one does, the chief.
is_chief = True


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """Writes a file or a folder under a temporary name and renames it.

    Args:
        path: The final path; local, or any that `tf.io.gfile` reads.

    Yields:
        The temporary path, in the same folder and with the same ending. If the
        block fails, or this process is not the chief, the temporary file is
        removed and `path` is unchanged.

    Raises:
        UserError: If `path` is a folder, or its folder is a file.
    """
    folder = os.path.dirname(path) or "."
    # A short name, as a prefix could make a long one too long.
    name = f".writing-{os.getpid()}-{threading.get_ident()}"
    temporary = os.path.join(folder, name + os.path.splitext(path)[1])
    try:
        with as_user_error(path):
            tf.io.gfile.makedirs(folder)
        yield temporary
        if not is_chief:
            return
        with as_user_error(path):
            if tf.io.gfile.isdir(temporary):
                remove(path)
            tf.io.gfile.rename(temporary, path, overwrite=True)
    finally:
        remove(temporary)


@contextlib.contextmanager
def as_user_error(what: str) -> Iterator[None]:
    """Turns TensorFlow's file errors into a `UserError` about `what`."""
    try:
        yield
    except tf.errors.OpError as error:
        if is_disk_full(error):
            raise
        raise UserError(f"{what} cannot be written: {error.message}") from error


def read_bytes(path: str) -> bytes:
    """The contents of a file."""
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def write_bytes(path: str, data: bytes) -> None:
    """Writes a file whole or not at all."""
    with (
        replacing(path) as new,
        as_user_error(path),
        tf.io.gfile.GFile(new, "wb") as file,
    ):
        file.write(data)


def write_text(path: str, text: str) -> None:
    """Writes a text file whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: str, values: dict) -> None:
    """Writes a dict as a JSON file whole or not at all."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def read_json(path: str, advice: str) -> dict:
    """Reads a JSON file that holds one object.

    Args:
        path: Path of the file.
        advice: What the user can do if the file is damaged.

    Raises:
        UserError: If the file holds anything else.
    """
    try:
        values = json.loads(read_bytes(path))
    except ValueError:  # UnicodeDecodeError is one.
        values = None
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged; {advice}.")
    return values


def check_writable(flag: str, folder: str) -> None:
    """Checks that files can be written into a folder that may not exist yet.

    Args:
        flag: Name of the flag that names the folder.
        folder: Path of the folder.

    Raises:
        UserError: If nothing can be written there.
    """
    is_new = not tf.io.gfile.exists(folder)
    probe = os.path.join(folder, f".writing-{os.getpid()}-probe")
    with as_user_error(f"--{flag}={folder}"):
        tf.io.gfile.makedirs(folder)
        write_bytes(probe, b"")
        tf.io.gfile.remove(probe)
        if is_new and os.path.isdir(folder):
            os.rmdir(folder)


def remove(path: str) -> None:
    """Removes a file or a whole folder, if it exists."""
    if tf.io.gfile.isdir(path):
        tf.io.gfile.rmtree(path)
    elif tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)

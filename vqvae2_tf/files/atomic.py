"""Files that are either whole or not there."""

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Iterator

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import is_disk_full
from vqvae2_tf.errors import one_line
from vqvae2_tf.files import filesystem

# Whether this process writes files: of several hosts, which share the folders,
# one does, the chief.
is_chief = True


@contextlib.contextmanager
def replacing(path: str, by_any: bool = False) -> Iterator[str]:
    """Writes a file or a folder under a temporary name and renames it.

    Args:
        path: The final path; local, or any that TensorFlow writes.
        by_any: Whether hosts that are not the chief write it too: each another
            file.

    Yields:
        The temporary path, in the same folder and with the same ending. If the
        block fails, the temporary file is removed and `path` is unchanged. On
        a host that is not the chief it is in a folder of that host, and lost.

    Raises:
        UserError: If `path` is a folder, or its folder is a file.
    """
    if not is_chief and not by_any:
        with tempfile.TemporaryDirectory() as own:
            yield os.path.join(own, "file" + os.path.splitext(path)[1])
        return
    folder = os.path.dirname(path) or "."
    # A short name, as a prefix could make a long one too long.
    name = f".writing-{os.getpid()}-{threading.get_ident()}"
    temporary = os.path.join(folder, name + os.path.splitext(path)[1])
    try:
        with as_user_error(path):
            filesystem.make_folders(folder)
        yield temporary
        with as_user_error(path):
            if filesystem.is_folder(temporary):
                filesystem.remove(path)
            filesystem.rename(temporary, path)
    finally:
        filesystem.remove(temporary)


@contextlib.contextmanager
def as_user_error(what: str) -> Iterator[None]:
    """Turns file errors into a `UserError` about `what`."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise
        reason = error.strerror or one_line(error)
        raise UserError(f"{what} cannot be written: {reason}") from error


def read_bytes(path: str) -> bytes:
    """The contents of a file."""
    with filesystem.opened(path, "rb") as file:
        return file.read()


def write_bytes(path: str, data: bytes) -> None:
    """Writes a file whole or not at all."""
    with (
        replacing(path) as new,
        as_user_error(path),
        filesystem.opened(new, "wb") as file,
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
        UserError: If it is a file, or nothing can be written there.
    """
    if not is_chief:
        return
    is_new = not filesystem.exists(folder)
    if not is_new and not filesystem.is_folder(folder):
        raise UserError(
            f"--{flag}={folder}: expected a folder. Received: a file"
        )
    probe = os.path.join(folder, f".writing-{os.getpid()}-probe")
    with as_user_error(f"--{flag}={folder}"):
        filesystem.make_folders(folder)
        write_bytes(probe, b"")
        filesystem.remove(probe)
        if is_new and os.path.isdir(folder):
            os.rmdir(folder)


def check_file_writable(flag: str, path: str) -> None:
    """Checks that a file can be written, or replaced.

    Args:
        flag: Name of the flag that names the file.
        path: Path of the file.

    Raises:
        UserError: If it is a folder, or nothing can be written into its own.
    """
    if filesystem.is_folder(path):
        raise UserError(f"--{flag}={path}: expected a file. Received: a folder")
    check_writable(flag, os.path.dirname(path) or ".")

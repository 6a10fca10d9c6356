"""Files that are either whole or not there."""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from collections.abc import Sequence

import tensorflow as tf

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None


class UserError(ValueError):
    """A mistake of the user's, told in one sentence without a stack trace."""


def some_of(names: Sequence[str], count: int = 5) -> str:
    """The first of many names, for a sentence: "a, b and 7 more"."""
    more = len(names) - count
    shown = ", ".join(names[:count])
    return f"{shown} and {more} more" if more > 0 else shown


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """Writes a file under a temporary name and renames it at the end.

    Args:
        path: Where the file is to be; local, or what `tf.io.gfile` reads.

    Yields:
        The temporary path, in the same folder and with the same ending. If the
        block fails the temporary file is removed and `path` is as it was.

    Raises:
        UserError: If a folder is in its place, or a file in that of its folder.
    """
    folder, name = os.path.split(path)
    # Short, as a long name could be too long with more before it.
    ending = os.path.splitext(name)[1]
    temporary = os.path.join(
        folder, f".writing-{os.getpid()}-{threading.get_ident()}{ending}"
    )
    try:
        with _told(path):
            tf.io.gfile.makedirs(folder or ".")
        yield temporary
        with _told(path):
            tf.io.gfile.rename(temporary, path, overwrite=True)
    finally:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.remove(temporary)


@contextlib.contextmanager
def _told(what):
    """Makes a `UserError` of what keeps something from being written."""
    try:
        yield
    except tf.errors.OpError as error:
        if is_disk_full(error):
            raise
        raise UserError(f"{what} cannot be written: {error.message}") from error


@contextlib.contextmanager
def held(folder: str) -> Iterator[None]:
    """Keeps a folder to this process, until the block or the process ends.

    Only on local file systems: not in clouds, not on most network file systems,
    and not on Windows.

    Args:
        folder: Made if it is not there.

    Raises:
        UserError: If another process holds it.
    """
    with _told(folder):
        tf.io.gfile.makedirs(folder)
    if fcntl is None or not os.path.isdir(folder):
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"Another process is at work in {folder}; wait for its end, or "
                "give another --run_dir."
            ) from error
        except OSError:  # Some network file systems.
            pass
        yield
    finally:
        os.close(descriptor)


def write_text(path: str, text: str) -> None:
    """Writes a text file whole or not at all."""
    with (
        replacing(path) as temporary,
        tf.io.gfile.GFile(temporary, "w") as file,
    ):
        file.write(text)


def check_writable(flag: str, folder: str) -> None:
    """Checks that files can be written into a folder, there or not.

    Args:
        flag: That names the folder.
        folder: Its path.

    Raises:
        UserError: If nothing can be written there.
    """
    is_new = not tf.io.gfile.exists(folder)
    probe = os.path.join(folder, f".writing-{os.getpid()}-probe")
    with _told(f"--{flag}={folder}"):
        tf.io.gfile.makedirs(folder)
        with tf.io.gfile.GFile(probe, "w") as file:
            file.write("")
        tf.io.gfile.remove(probe)
        if is_new and os.path.isdir(folder):
            os.rmdir(folder)


def remove(path: str) -> None:
    """Removes a file or a whole folder, if it is there."""
    if tf.io.gfile.isdir(path):
        tf.io.gfile.rmtree(path)
    elif tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an exception, or one that caused it, says the disk is full.

    Full, over its quota, or at the largest size that a file may have.
    """
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    while error is not None:
        if isinstance(error, OSError) and error.errno in codes:
            return True
        # TensorFlow's errors have the words and not the number.
        if any(os.strerror(code) in str(error) for code in codes):
            return True
        error = error.__cause__ or error.__context__
    return False

"""A folder that one process works in at a time."""

import contextlib
import os
from collections.abc import Iterator

from vqvae2_tf.errors import UserError
from vqvae2_tf.files import atomic
from vqvae2_tf.files import filesystem

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None


@contextlib.contextmanager
def lock(folder: str, wait: bool = False) -> Iterator[None]:
    """Locks a folder for this process until the block or the process ends.

    Works only on local file systems: not in clouds, not on most network file
    systems, and not on Windows.

    Args:
        folder: Path of the folder; it is created if it does not exist.
        wait: Whether to wait for another process that has locked it.

    Raises:
        UserError: If another process has locked it and `wait` is false.
    """
    with atomic.as_user_error(folder):
        filesystem.make_folders(folder)
    if fcntl is None or not os.path.isdir(folder):
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if not wait:
                raise UserError(
                    f"{folder} is in use by another process; wait for it to "
                    "finish, or give another --run_dir."
                ) from error
            print(f"waiting for another process in {folder}", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:  # Some network file systems.
            pass
        yield
    finally:
        os.close(descriptor)

"""A folder that one process works in at a time."""

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.files import atomic
from vqvae2_tf.files import filesystem

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None

LEASE_FILE = "lease.json"
# Seconds that a lease holds after it was last renewed, and between renewals. A
# process that was killed leaves its lease behind.
LEASE_SECONDS = 300.0
RENEWAL_SECONDS = 60.0
# Seconds until a new lease is looked at again, as two may be written at once,
# and between two looks at another's.
SETTLING_SECONDS = 2.0


@contextlib.contextmanager
def lock(folder: str, wait: bool = False) -> Iterator[None]:
    """Locks a folder for this process until the block or the process ends.

    Where the file system has no locks (in clouds, on some network file systems
    and on Windows) a file names the process that works there; see `_lease`.

    Args:
        folder: Path of the folder; it is created if it does not exist.
        wait: Whether to wait for another process that has locked it.

    Raises:
        UserError: If another process has locked it and `wait` is false.
    """
    with atomic.as_user_error(folder):
        filesystem.make_folders(folder)
    with contextlib.ExitStack() as stack:
        if fcntl is None or not os.path.isdir(folder):
            stack.enter_context(_lease(folder, wait))
        else:
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            if not _flock(folder, descriptor, wait):
                stack.enter_context(_lease(folder, wait))
        yield


def _flock(folder, descriptor, wait):
    """Locks an open folder; false if its file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        if not wait:
            raise _in_use(folder, "another process") from error
        _tell(folder, "another process")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _lease(folder, wait):
    """Writes whose a folder is, and renews it until the block ends.

    A lease that another process left behind is waited for, until it ends or is
    renewed, which tells that its owner lives. Clocks are compared: a host whose
    clock is minutes off may take a folder from another. Of two processes that
    begin within `SETTLING_SECONDS` one goes on. A process that was paused until
    another took its folder ends where it would renew its lease.
    """
    path = os.path.join(folder, LEASE_FILE)
    name = f"process {os.getpid()} on {socket.gethostname()}"
    token = secrets.token_hex(8)

    def write():
        own = {"owner": name, "token": token, "time": time.time()}
        # Whichever host asks: it may have a folder that others do not share.
        with (
            atomic.replacing(path, by_any=True) as new,
            atomic.as_user_error(path),
            filesystem.opened(new, "wb") as file,
        ):
            file.write(json.dumps(own).encode())

    first = None
    while (lease := _held_lease(path)).get("token") != token:
        if not lease:
            write()
        elif first is None:
            first = lease
            _tell(folder, lease["owner"])
        elif lease != first and not wait:
            raise _in_use(folder, lease["owner"])
        time.sleep(SETTLING_SECONDS)
    ended = threading.Event()

    def renew():
        looked = time.time()
        while not ended.wait(RENEWAL_SECONDS):
            # A cloud may be away for a moment; the lease holds for longer.
            with contextlib.suppress(OSError, UserError):
                lease = _read_lease(path)
                if lease.get("token") == token:
                    # Although it may have ended, nobody has taken it.
                    write()
                elif lease:
                    _end(folder, lease["owner"])
                elif time.time() - looked > LEASE_SECONDS:
                    # Another may have taken it and finished meanwhile. Else
                    # this process itself has removed what is in the folder.
                    _end(folder, "another process")
                looked = time.time()

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            if _read_lease(path).get("token") == token:
                filesystem.remove(path)


def _held_lease(path):
    """What a lease says; empty if there is none that holds."""
    try:
        lease = _read_lease(path)
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise UserError(f"{path} cannot be read: {reason}") from error
    holds = lease and abs(time.time() - lease["time"]) < LEASE_SECONDS
    return lease if holds else {}


def _read_lease(path):
    """What a lease says, even one that has ended; empty if there is none."""
    try:
        lease = json.loads(atomic.read_bytes(path))
        is_whole = lease["owner"] and lease["token"] and lease["time"] >= 0
        return lease if is_whole else {}
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return {}


def _end(folder, owner):
    """Ends this process at once, so that it writes nothing more."""
    try:
        print(
            f"error: {folder} was taken by {owner}, as this process was paused "
            "for too long; it ends, and saves nothing more.",
            file=sys.stderr,
            flush=True,
        )
    finally:
        os._exit(1)


def _in_use(folder, owner):
    return UserError(
        f"{folder} is in use by {owner}; wait for it to finish, or give "
        "another --run_dir."
    )


def _tell(folder, owner):
    print(f"waiting for {owner} in {folder}", flush=True)

"""What a folder's images hold: looked at once, and again where they changed."""

import concurrent.futures
import hashlib
import os
from collections.abc import Sequence

import PIL
import tensorflow as tf
from tqdm import tqdm

from vqvae2_tf.data import decoding
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.files import atomic
from vqvae2_tf.files import filesystem

# Images that a killed process has to look at again, at most.
_KEPT_AFTER = 10_000


def look(
    folder: str, paths: Sequence[str], index_dir: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Hashes a folder's images and finds those that cannot be decoded.

    A file whose size and time of change are those of an earlier look is not
    read again.

    Args:
        folder: Path of the folder.
        paths: Paths of its images, relative to it.
        index_dir: Folder of files that keep what is known of each folder.

    Returns:
        The SHA-256 of each image's file, hex digits, and the reason for each
        file that cannot be decoded, both by their paths.

    Raises:
        UserError: If a file cannot be read at present; nothing is kept of it.
    """
    index = _index_path(folder, index_dir)
    known = _read_index(index)
    sound = {digest for _, digest, _ in known.values() if digest}
    found, stamps, unreadable = {}, {}, {}
    for path in paths:
        try:
            status = tf.io.gfile.stat(os.path.join(folder, path))
        except tf.errors.OpError as error:
            unreadable[path] = one_line(error.message)
            continue
        stamps[path] = [status.length, status.mtime_nsec]
        if path in known and known[path][0] == stamps[path]:
            found[path] = known[path]

    def examine(path):
        """Stamp, hash or None, and reason or None."""
        try:
            data = atomic.read_bytes(os.path.join(folder, path))
        except OSError as error:
            unreadable[path] = error.strerror or one_line(error)
            return None
        digest = hashlib.sha256(data).hexdigest()
        try:
            if digest not in sound:
                decoding.decode_image(data, 3)
        except decoding.UnreadableImageError as error:
            return stamps[path], None, one_line(error)
        return stamps[path], digest, None

    remaining = [path for path in stamps if path not in found]
    if remaining:
        atomic.check_writable("data_dir", index_dir)
        # No more, as an image may take gigabytes.
        pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
        try:
            entries = pool.map(examine, remaining)
            entries = tqdm(
                entries, "checking images", len(remaining), unit="img"
            )
            for path, entry in zip(remaining, entries, strict=True):
                if entry:
                    found[path] = entry
                if len(found) % _KEPT_AFTER == 0:
                    _write_index(index, folder, found)
        finally:
            pool.shutdown(cancel_futures=True)
            # Whatever ended the look, its next start goes on from here.
            _write_index(index, folder, found)
    if unreadable:
        path, reason = min(unreadable.items())
        more = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        raise UserError(
            f"{os.path.join(folder, path)}{more} cannot be read at present "
            f"({reason}): make them readable, or move them elsewhere."
        )
    return (
        {p: found[p][1] for p in paths if found[p][1]},
        {p: found[p][2] for p in paths if not found[p][1]},
    )


def forget(folder: str, index_dir: str) -> None:
    """Forgets what is known of a folder; see `look`."""
    filesystem.remove(_index_path(folder, index_dir))


def _index_path(folder, index_dir):
    name = hashlib.sha256(folder.encode()).hexdigest()[:16]
    return os.path.join(index_dir, f"{name}.json")


def _write_index(path, folder, found):
    values = {"folder": folder, "decoder": PIL.__version__, "files": found}
    atomic.write_json(path, values)


def _read_index(path):
    """`{"<path>": [stamp, hash or None, reason or None]}`, known earlier."""
    if not tf.io.gfile.exists(path):
        return {}
    try:
        index = atomic.read_json(path, "")
        same_decoder = index["decoder"] == PIL.__version__
        return {
            name: [stamp, digest, reason]
            for name, (stamp, digest, reason) in index["files"].items()
            # Another decoder may be able to read what this one could not.
            if digest or same_decoder
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}  # Damaged: look again.

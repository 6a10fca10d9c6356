"""The files below a folder, and what is not read of it."""

import collections
import dataclasses
import os
from collections.abc import Collection
from collections.abc import Iterator

import tensorflow as tf

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import shorten

# Of archives' and network drives' own files: resource forks, thumbnails, bins.
_SYSTEM_FOLDERS = {
    *("__macosx", "@eadir", "@recycle", "#recycle", "#snapshot"),
    *("$recycle.bin", "system volume information", "lost+found"),
}
_OTHER_ENDINGS = "of other endings"


@dataclasses.dataclass
class Listing:
    """Files of a folder and its subfolders.

    Args:
        paths: Paths relative to the folder, sorted, with `/`.
        left_out: By the reason, what was not read, relative to the folder.
    """

    paths: list[str] = dataclasses.field(default_factory=list)
    left_out: dict[str, list[str]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )

    def describe_left_out(self) -> str:
        """What was not read and why; "" if all was."""
        parts = []
        others = self.left_out.get(_OTHER_ENDINGS, [])
        endings = collections.Counter(
            os.path.splitext(name)[1].lower() or "without ending"
            for name in others
        )
        if endings:
            counts = [f"{n} {ending}" for ending, n in endings.most_common()]
            parts.append(shorten(counts))
        for reason, names in sorted(self.left_out.items()):
            if reason != _OTHER_ENDINGS:
                parts.append(f"{shorten(sorted(names), 3)} ({reason})")
        return ", ".join(parts)


def list_files(
    folder: str, endings: Collection[str], silent: Collection[str] = ()
) -> Listing:
    """Lists a folder's files, but none that are hidden or a system's.

    Links are followed, but no folder is entered twice, however many lead to it,
    and none that the folder itself lies in.

    Args:
        folder: Local path, or any that `tf.io.gfile` reads.
        endings: Endings of the file names, in lower case, with the dot.
        silent: Names of files that are left out without a word.

    Raises:
        UserError: If a folder cannot be read, or a name is not UTF-8.
    """
    listing = Listing()
    # Links after all else, so that a folder is read under its own name.
    pending, links, entered = [""], [], {os.path.realpath(folder)}
    while pending or links:
        parent = pending.pop() if pending else links.pop(0)
        if parent and _is_entered(folder, parent, entered):
            listing.left_out["a link to a folder that is read"].append(parent)
            continue
        for name, kind in _entries(os.path.join(folder, parent)):
            path = f"{parent}/{name}" if parent else name
            if name.startswith(".") or (
                kind == "folder" and name.lower() in _SYSTEM_FOLDERS
            ):
                listing.left_out["hidden or of the system"].append(path)
            elif kind == "folder":
                is_link = os.path.islink(os.path.join(folder, path))
                (links if is_link else pending).append(path)
            elif name in silent:
                continue
            elif kind != "file":
                listing.left_out[kind].append(path)
            elif name.lower().endswith(tuple(endings)):
                listing.paths.append(path)
            else:
                listing.left_out[_OTHER_ENDINGS].append(path)
        links.sort()
    listing.paths.sort()
    return listing


def _is_entered(folder, path, entered):
    """Whether a folder was entered already, or holds `folder`; notes it."""
    real = os.path.realpath(os.path.join(folder, path))
    if real in entered or is_within(folder, real):
        return True
    entered.add(real)
    return False


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies below it."""
    path, folder = (
        f"{p.rstrip('/')}/" if "://" in p else os.path.realpath(p) + os.sep
        for p in (path, folder)
    )
    return path.startswith(folder)


def _entries(folder: str) -> Iterator[tuple[str, str]]:
    """Names in a folder, and what they are: `file`, `folder`, or a reason."""
    try:
        if "://" in folder:
            for name in tf.io.gfile.listdir(folder):
                is_folder = tf.io.gfile.isdir(os.path.join(folder, name))
                yield name.rstrip("/"), "folder" if is_folder else "file"
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                entry.name.encode()
                yield entry.name, _kind(entry)
    except UnicodeEncodeError as error:
        raise UserError(
            f"{folder} has a file whose name is not UTF-8 "
            f"({os.fsencode(error.object)!r}); rename it."
        ) from error
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read: {error.strerror}."
        ) from error
    except tf.errors.OpError as error:
        raise UserError(f"{folder} cannot be read: {error.message}") from error


def _kind(entry):
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError:  # Too many links, or their target cannot be looked at.
        return "a broken link"
    return "a broken link" if entry.is_symlink() else "no regular file"

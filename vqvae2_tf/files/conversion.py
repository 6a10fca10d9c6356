"""Files of a folder turned into files of another one, in batches."""

import collections
import concurrent.futures
import dataclasses
import os
import sys
from collections.abc import Callable
from collections.abc import Collection

import tensorflow as tf
from tqdm import tqdm

from vqvae2_tf.errors import UserError
from vqvae2_tf.files import provenance as cards
from vqvae2_tf.files.atomic import check_writable
from vqvae2_tf.files.listing import list_files


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What becomes of each file.

    Args:
        endings: Of the files that are read.
        ending: Of the files that are written.
        read: Function of a path to an example; raises `UserError` if the file
            is broken.
        convert: Function of a list of examples to a list of results.
        write: Function of a path and a result.
    """

    endings: Collection[str]
    ending: str
    read: Callable
    convert: Callable
    write: Callable


def convert_folder(
    conversion: Conversion,
    source: str,
    target: str,
    batch_size: int,
    card: str,
    settings: dict,
    overwrite: bool = False,
) -> None:
    """Converts the files of a folder, subfolders too, that are not done yet.

    A file that cannot be read is told and left out; the rest is done.

    Args:
        conversion: What becomes of each file.
        source: Folder to read (`--input`).
        target: Folder to write (`--output`), as the source is arranged.
        batch_size: Files converted at once.
        card: Name of the file that notes the settings, in the target.
        settings: What the files are made with, besides the source, as JSON
            has it.
        overwrite: Remove the files that are there and do all anew.

    Raises:
        UserError: If there is nothing to read, the target cannot be written
            to, its files were made with other settings or of another source,
            or, at the end, some files were left out.
    """
    source, target = (
        os.path.expanduser(folder).rstrip("/") for folder in (source, target)
    )
    if not tf.io.gfile.isdir(source):
        raise UserError(f"--input={source}: there is no such folder.")
    if conversion.ending in conversion.endings and _is_within(target, source):
        raise UserError(
            f"--output={target} must not be in --input={source}: what is "
            "written would be read the next time."
        )
    paths = list_files(source, conversion.endings)
    if not paths:
        raise UserError(
            f"--input={source}: expected files in it or its subfolders that "
            f"end in {', '.join(sorted(conversion.endings))}; found none."
        )
    check_writable("output", target)
    targets = _targets(paths, target, conversion.ending)
    if overwrite:
        # Before the card: what is left of other settings must not pass for
        # done if this is stopped.
        for path in (*targets.values(), os.path.join(target, card)):
            if tf.io.gfile.exists(path):
                tf.io.gfile.remove(path)
    cards.claim(
        target,
        card,
        {**settings, "input": _settled(source)},
        targets.values(),
        "give another folder, or --overwrite",
    )
    todo = [path for path in paths if not tf.io.gfile.exists(targets[path])]
    done_before = len(paths) - len(todo)
    left_out = _convert(conversion, source, targets, todo, batch_size)
    print(
        f"{target}: {len(paths) - done_before - left_out} files written, "
        f"{done_before} there before"
    )
    if left_out:
        raise UserError(
            f"{left_out} of {len(paths)} files were left out, as told above."
        )


def _targets(paths, folder, ending):
    """`{"<path>": "<what is written>"}`; a.png and a.jpg both keep theirs."""
    stems = {path: os.path.splitext(path)[0] for path in paths}
    # What a whole name is, as of a.png beside a.png.jpg, is taken too.
    takers = collections.Counter([*stems.values(), *paths])
    return {
        path: os.path.join(
            folder, (stem if takers[stem] == 1 else path) + ending
        )
        for path, stem in stems.items()
    }


def _settled(folder):
    """The same folder, however it is written."""
    return folder if "://" in folder else os.path.abspath(folder)


def _convert(conversion, source, targets, todo, batch_size):
    """Converts files. Returns how many were left out."""
    left_out = 0
    batches = [
        todo[start : start + batch_size]
        for start in range(0, len(todo), batch_size)
    ]
    with (
        concurrent.futures.ThreadPoolExecutor() as pool,
        tqdm(total=len(todo), unit="file") as progress,
    ):

        def start_reading(batch):
            return [
                pool.submit(conversion.read, os.path.join(source, path))
                for path in batch
            ]

        following = start_reading(batches[0]) if batches else []
        for i, batch in enumerate(batches):
            # One batch is read while the one before is converted, not more.
            reading = following
            if i + 1 < len(batches):
                following = start_reading(batches[i + 1])
            written, examples = [], []
            for path, future in zip(batch, reading, strict=True):
                try:
                    examples.append(future.result())
                    written.append(targets[path])
                except UserError as error:
                    _tell(path, error)
                    left_out += 1
            if examples:
                results = conversion.convert(examples)
                list(pool.map(conversion.write, written, results))
            progress.update(len(batch))
    return left_out


def _tell(path, reason):
    tqdm.write(f"{path}: {reason}", file=sys.stderr)


def _is_within(path, folder):
    path, folder = (os.path.realpath(p) + os.sep for p in (path, folder))
    return path.startswith(folder)

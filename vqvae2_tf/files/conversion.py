"""Converts the files of one folder into files of another, in batches."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import os
import sys
from collections.abc import Callable
from collections.abc import Collection

import tensorflow as tf
from tqdm import tqdm

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import shorten
from vqvae2_tf.files import atomic
from vqvae2_tf.files import listing
from vqvae2_tf.files import provenance

# Settings that verbs write into the folders of their files.
CARDS = ("encode.json", "decode.json", "reconstruct.json")


@dataclasses.dataclass(frozen=True)
class Conversion:
    """How each file is converted.

    Args:
        endings: Endings of the files that are read.
        ending: Ending of the files that are written.
        read: Function from a path to an example; raises `UserError` if the
            file is broken.
        convert: Function from a list of examples to a list of results.
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
    """Converts the files of a folder and its subfolders.

    Files whose results exist already are not converted again. A file that
    cannot be read is reported and skipped.

    Args:
        conversion: How each file is converted.
        source: Folder to read (`--input`).
        target: Folder to write (`--output`), with the subfolders of the source.
        batch_size: Files converted at once.
        card: Name of the provenance file in the target.
        settings: Settings that the files are made with, besides the source;
            JSON values.
        overwrite: Whether to remove existing results and convert all files
            again.

    Raises:
        UserError: If there is nothing to read, the target cannot be written
            to, its files were made with other settings or from another
            source, or, at the end, some files were skipped.
    """
    if not tf.io.gfile.isdir(source):
        raise UserError(f"--input={source}: there is no such folder.")
    # The same however it is written.
    source = source.rstrip("/") if "://" in source else os.path.abspath(source)
    if conversion.ending in conversion.endings and listing.is_within(
        target, source
    ):
        raise UserError(
            f"--output={target} must not be in --input={source}: the next "
            "run would read its files."
        )
    found = listing.list_files(source, conversion.endings, CARDS)
    paths, left_out = found.paths, found.describe_left_out()
    if not paths:
        raise UserError(
            f"--input={source}: expected files in it or its subfolders that "
            f"end in {', '.join(sorted(conversion.endings))}; found "
            f"{left_out or 'none'}."
        )
    if left_out:
        print(f"{source}: not read: {left_out}", flush=True)
    atomic.check_writable("output", target)
    targets = _targets(paths, target, conversion.ending)
    settings = {**settings, "input": source}
    if overwrite:
        _check_others(
            target, targets.values(), conversion.ending, card, settings
        )
        # Before `claim`: if this is interrupted, no file of other settings
        # may pass for converted.
        for path in (*targets.values(), os.path.join(target, card)):
            if tf.io.gfile.exists(path):
                tf.io.gfile.remove(path)
    advice = "give another folder, or --overwrite"
    provenance.claim(target, card, settings, targets.values(), advice)
    remaining = [p for p in paths if not tf.io.gfile.exists(targets[p])]
    written = _convert(conversion, source, targets, remaining, batch_size)
    existing = len(paths) - len(remaining)
    print(f"{target}: {written} files written, {existing} existed before")
    if written < len(remaining):
        raise UserError(
            f"{len(remaining) - written} of {len(paths)} files were skipped, "
            "as reported above."
        )


def _check_others(folder, targets, ending, card, settings):
    """Checks that no file of other settings would lie beside the new ones."""
    path = os.path.join(folder, card)
    if not tf.io.gfile.exists(path):
        return
    with contextlib.suppress(UserError):  # A damaged card is replaced.
        if atomic.read_json(path, "") == settings:
            return
    found = listing.list_files(folder, [ending], CARDS).paths
    written = {os.path.join(folder, p) for p in found}
    others = sorted(written - set(targets))
    if others:
        raise UserError(
            f"--output={folder}: {shorten(others, 1)}, of other settings, "
            "would stay beside the new files; remove what has no file in "
            "--input any more, or give another folder."
        )


def _targets(paths, folder, ending):
    """`{"<path>": "<path to write>"}`; a.png and a.jpg keep their endings."""
    stems = {path: os.path.splitext(path)[0] for path in paths}
    # Reserve full file names too: a.png beside a.png.jpg would collide.
    uses = collections.Counter([*stems.values(), *paths])
    return {
        path: os.path.join(folder, (stem if uses[stem] == 1 else path) + ending)
        for path, stem in stems.items()
    }


def _convert(conversion, source, targets, remaining, batch_size):
    """Converts files. Returns how many were written."""

    def read(path):
        try:
            return targets[path], conversion.read(os.path.join(source, path))
        except UserError as error:
            tqdm.write(f"{path}: {error}", file=sys.stderr)
            return None

    starts = range(0, len(remaining), batch_size)
    batches = [remaining[start : start + batch_size] for start in starts]
    written = 0
    progress = tqdm(total=len(remaining), unit="file")
    with progress, concurrent.futures.ThreadPoolExecutor() as pool:
        # While one batch is converted, only the next one is read.
        following = pool.map(read, remaining[:batch_size])
        for batch, next_batch in itertools.pairwise([*batches, []]):
            reading, following = following, pool.map(read, next_batch)
            examples = dict(filter(None, reading))
            if examples:
                results = conversion.convert(list(examples.values()))
                list(pool.map(conversion.write, examples, results))
            written += len(examples)
            progress.update(len(batch))
    return written

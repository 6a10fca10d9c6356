"""Codes of another tokenizer, written as `extraction` writes them."""

import hashlib
import itertools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vqvae2_tf.codes import records
from vqvae2_tf.codes.arrays import LABELS
from vqvae2_tf.codes.arrays import CodeArrays
from vqvae2_tf.codes.arrays import CodeFiles
from vqvae2_tf.codes.extraction import EXAMPLES_PER_SHARD
from vqvae2_tf.errors import UserError
from vqvae2_tf.files import atomic
from vqvae2_tf.files import provenance
from vqvae2_tf.level import Level


def read_description(path: str) -> tuple[list[Level], list[str]]:
    """Reads what a user writes about a tokenizer's codes: a JSON file.

    It has `levels`, a list of objects with `name`, `height`, `width` and
    `num_codes`, coarsest first, none of the name `labels`; with classes also
    `class_names`, or `num_classes` where their names are their numbers.

    Args:
        path: Path of the file.

    Returns:
        Tuple of the levels and the names of the classes.

    Raises:
        UserError: If it holds anything else.
    """
    advice = (
        'expected JSON such as {"levels": [{"name": "top", "height": 16, '
        '"width": 16, "num_codes": 1024}], "num_classes": 1000}'
    )
    try:
        card = atomic.read_json(path, advice)
        described = card.pop("levels")
        levels = [Level(**level) for level in described]
        numbers = [n for x in levels for n in (*x.size, x.num_codes)]
        names = card.pop("class_names", None)
        if names is None:
            numbers.append(card.get("num_classes", 1))
            names = [str(n) for n in range(card.pop("num_classes", 0))]
        sound = all(type(n) is int and n > 0 for n in numbers)
        sound = sound and isinstance(names, list)
        sound = sound and all(len(level) == 4 for level in described)
        sound = sound and all(x.name.isidentifier() for x in levels)
        sound = sound and LABELS not in {x.name for x in levels}
        sound = sound and len({x.name for x in levels}) == len(levels) > 0
        sound = sound and all(isinstance(name, str) for name in names)
        sound = sound and len({*names}) == len(names) and not card
    except FileNotFoundError as error:
        raise UserError(f"--card={path}: there is no such file.") from error
    except (AttributeError, KeyError, TypeError):
        sound = False
    if not sound:
        raise UserError(f"--card={path}: {advice}, and no other entries.")
    return levels, names


def split(
    source: CodeArrays | CodeFiles, share: float, seed: int
) -> dict[str, tuple[CodeArrays | CodeFiles, np.ndarray]]:
    """Splits codes into those to train on and those held out, by chance.

    Args:
        source: The codes.
        share: Share that is held out; one image at least.
        seed: Seed of the split.

    Returns:
        For each split the codes and the numbers of its own.

    Raises:
        UserError: If there is a single image.
    """
    if source.count < 2:
        raise UserError(
            "--input: expected two images or more, as some are held out."
        )
    rows = np.random.default_rng(seed).permutation(source.count)
    held_out = min(max(round(share * len(rows)), 1), len(rows) - 1)
    return {
        "train": (source, rows[held_out:]),
        "validation": (source, rows[:held_out]),
    }


def import_codes(
    splits: dict[str, tuple[CodeArrays | CodeFiles, np.ndarray]],
    folder: str,
    levels: Sequence[Level],
    class_names: Sequence[str],
) -> dict:
    """Writes codes as sharded TFRecords and a card.

    All codes are looked at before the first is written. Existing shards are
    kept, so that an import that was stopped resumes with the missing ones.

    Args:
        splits: For each split the codes, and the numbers of those of it, in
            the order to be written, `[n]`.
        folder: Folder of the shards and their card.
        levels: The codes' levels, coarsest first.
        class_names: Names of the classes; empty without classes.

    Returns:
        The card; see `records.read_card`.

    Raises:
        UserError: If a code is none of its level's, or the folder holds other
            codes.
    """
    card = {
        "class_names": list(class_names),
        "levels": [level.to_json() for level in levels],
        "fingerprint": _fingerprint(splits),
        "examples_per_shard": EXAMPLES_PER_SHARD,
        "splits": {name: len(rows) for name, (_, rows) in splits.items()},
    }
    paths = {name: records.shard_paths(folder, name, card) for name in splits}
    shards = list(itertools.chain(*paths.values()))
    advice = "remove that folder, or give another one"
    provenance.claim(folder, records.CARD, card, shards, advice)
    for name, (source, rows) in splits.items():
        parts = zip(paths[name], _parts(rows), strict=True)
        for path, part in tqdm(list(parts), f"codes ({name})", unit="shard"):
            if not tf.io.gfile.exists(path):
                # The order within a shard is shuffled in training.
                codes, labels, ids = source.read(np.sort(part))
                examples = zip(
                    zip(*codes, strict=True), labels, ids, strict=True
                )
                records.write_shard(path, levels, examples)
    return card


def _parts(rows):
    """The numbers of each shard."""
    starts = range(0, len(rows), EXAMPLES_PER_SHARD)
    return [rows[start : start + EXAMPLES_PER_SHARD] for start in starts]


def _fingerprint(splits):
    """16 hex digits that identify codes, labels and their splits."""
    digest = hashlib.sha256()
    for name, (source, rows) in splits.items():
        digest.update(name.encode())
        for part in tqdm(_parts(rows), f"checked ({name})", unit="shard"):
            codes, labels, _ = source.read(np.sort(part))
            for array in (*codes, labels):
                digest.update(np.ascontiguousarray(array, "<i4").tobytes())
    return digest.hexdigest()[:16]

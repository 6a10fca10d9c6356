"""Code maps on disk: sharded TFRecords and one JSON card."""

import contextlib
import math
import os
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from vqvae2_tf.data.batches import Examples
from vqvae2_tf.errors import UserError
from vqvae2_tf.files import atomic
from vqvae2_tf.level import Level

CARD = "codes.json"
# What is known of shards that were read once.
_CHECKED = "checked.json"
# Besides `levels` and `examples_per_shard`, which are checked more closely.
_CARD_ENTRIES = {"class_names", "fingerprint", "splits"}
# Some 700 MB of three levels for 1024x1024.
_SHUFFLED = 16384


def shard_paths(folder: str, split: str, card: dict) -> list[str]:
    """Paths of a split's shards, `FOLDER/train-00000-of-00004.tfrecord`.

    Args:
        folder: Folder of the shards.
        split: `train` or `validation`.
        card: As in `read_card`.
    """
    count = math.ceil(card["splits"][split] / card["examples_per_shard"])
    return [
        os.path.join(folder, f"{split}-{i:05d}-of-{count:05d}.tfrecord")
        for i in range(count)
    ]


def write_shard(path: str, levels: Sequence[Level], examples: Iterable) -> None:
    """Writes a shard whole or not at all.

    Args:
        path: Path of the shard.
        levels: Levels of the codes, coarsest first.
        examples: Iterable of `(codes, label, id)`: a list of one array a
            level, an int, and bytes.
    """
    with (
        atomic.replacing(path, by_any=True) as new,
        tf.io.TFRecordWriter(new) as writer,
    ):
        for codes, label, example_id in examples:
            example = tf.train.Example()
            feature = example.features.feature
            for level, values in zip(levels, codes, strict=True):
                data = np.asarray(values, level.storage).tobytes()
                feature["codes"].bytes_list.value.append(data)
            feature["label"].int64_list.value.append(int(label))
            feature["id"].bytes_list.value.append(example_id)
            writer.write(example.SerializeToString(deterministic=True))


def read_card(folder: str) -> dict:
    """The card of a folder of codes.

    Returns:
        dict of `levels` (the arguments of each `Level`, coarsest first),
        `class_names`, the `fingerprint` of the autoencoder,
        `examples_per_shard`, `splits` (the number of examples of each), the
        `order` of images in several shards, and the settings that the images
        were encoded with.

    Raises:
        UserError: If there is none, or it is damaged.
    """
    path = os.path.join(folder, CARD)
    advice = "copy it again, or remove its folder to extract the codes again"
    if not tf.io.gfile.exists(path):
        raise UserError(
            f"{folder} is not a folder of extracted codes, which --stage=codes "
            f"writes: it has no {CARD}."
        )
    card = atomic.read_json(path, advice)
    try:
        levels = [Level.of(level) for level in card["levels"]]
        sound = levels and card["examples_per_shard"] > 0
    except (KeyError, TypeError):
        sound = False
    if not sound or not card.keys() >= _CARD_ENTRIES:
        raise UserError(f"{path} is not a card of extracted codes; {advice}.")
    return card


def code_examples(folder: str, card: dict, split: str) -> Examples:
    """Examples out of a folder of shards.

    Args:
        folder: Folder of the shards.
        card: What `read_card` gave.
        split: `train` or `validation`.

    Returns:
        `Examples` of dicts with `codes`, a tuple of `[*level.shape]`, coarsest
        first, and `label` int32.

    Raises:
        UserError: If a shard is missing or damaged, there are no examples, or
            labels that the card has no class for.
    """
    if not card["splits"][split]:
        raise UserError(f"{folder} holds no codes for {split}.")
    _check_shards(folder, split, card)
    paths = shard_paths(folder, split, card)
    levels = [Level.of(level) for level in card["levels"]]
    features = {
        "codes": tf.io.FixedLenFeature((len(levels),), tf.string),
        "label": tf.io.FixedLenFeature((), tf.int64),
    }

    def decode(level, data):
        values = tf.io.decode_raw(data, np.dtype(level.storage).type)
        return tf.reshape(tf.cast(values, level.dtype), level.shape)

    def read(serialized, seed=None):
        example = tf.io.parse_single_example(serialized, features)
        codes = tuple(map(decode, levels, tf.unstack(example["codes"])))
        return {"codes": codes, "label": tf.cast(example["label"], tf.int32)}

    def open_part(shard, first, count):
        dataset = tf.data.TFRecordDataset(tf.constant(paths)[shard])
        return dataset.skip(first).take(count)

    lengths = _shard_lengths(split, card)
    return Examples(open_part, lengths, read, _SHUFFLED)


def _shard_lengths(split, card):
    """Number of examples in each shard: all but the last are full."""
    full, rest = divmod(card["splits"][split], card["examples_per_shard"])
    return [card["examples_per_shard"]] * full + [rest] * (rest > 0)


def _check_shards(folder, split, card):
    """Reads each shard once: training must not end at one of them.

    Again only if its size or time of change is another than at that time.
    """
    highest = len(card["class_names"]) - 1
    repair = "extract the codes again, which resumes there, or copy them again."
    checked = os.path.join(folder, _CHECKED)
    known = _read_checked(checked)
    found = {}
    paths = shard_paths(folder, split, card)
    for path, expected in zip(paths, _shard_lengths(split, card), strict=True):
        if not tf.io.gfile.exists(path):
            raise UserError(f"{path} is missing; {repair}")
        status = tf.io.gfile.stat(path)
        stamp = [status.length, status.mtime_nsec, expected, highest]
        found[os.path.basename(path)] = stamp
        if known.get(os.path.basename(path)) == stamp:
            continue
        labels = _labels(path)
        if len(labels) != expected or max(labels) > highest > 0:
            raise UserError(
                f"{path} is damaged or from another folder than its {CARD}; "
                f"remove it and {repair}"
            )
    if any(known.get(name) != stamp for name, stamp in found.items()):
        # Codes may lie where nothing can be written.
        with contextlib.suppress(UserError):
            atomic.write_json(checked, {**known, **found})


def _read_checked(path):
    """`{"<shard>": [bytes, time of change, ...]}`, checked earlier."""
    try:
        return atomic.read_json(path, "")
    except (OSError, UserError):
        return {}


def _labels(path):
    """Labels of a shard; none if it is damaged."""
    features = {"label": tf.io.FixedLenFeature((), tf.int64)}
    labels = []
    try:
        for records in tf.data.TFRecordDataset(path).batch(1024):
            parsed = tf.io.parse_example(records, features)
            labels += parsed["label"].numpy().tolist()
    except tf.errors.OpError:
        return []
    return labels

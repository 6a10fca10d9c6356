"""Code maps on disk: sharded TFRecords and one JSON card."""

import json
import math
import os
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from vqvae2_tf.data.batches import Examples
from vqvae2_tf.errors import UserError
from vqvae2_tf.files.atomic import replacing

CARD = "codes.json"
_CARD_ENTRIES = {
    "map_sizes",
    "num_codes",
    "class_names",
    "fingerprint",
    "examples_per_shard",
    "splits",
}
# Some 700 MB of three levels for 1024x1024.
_SHUFFLED = 16384


def shard_paths(folder: str, split: str, card: dict) -> list[str]:
    """Paths of a split's shards, `FOLDER/train-00000-of-00004.tfrecord`.

    Args:
        folder: Of the shards.
        split: `train` or `validation`.
        card: As in `read_card`.
    """
    count = math.ceil(card["splits"][split] / card["examples_per_shard"])
    return [
        os.path.join(folder, f"{split}-{i:05d}-of-{count:05d}.tfrecord")
        for i in range(count)
    ]


def write_shard(path: str, rows: Iterable) -> None:
    """Writes a shard whole or not at all.

    Args:
        path: Of the shard.
        rows: Iterable of `(codes, label, id)`: a list of `[h, w]` integer
            arrays, coarsest first, with values in [0, 65536), an int, and
            bytes.
    """
    with (
        replacing(path) as temporary,
        tf.io.TFRecordWriter(temporary) as writer,
    ):
        for row in rows:
            writer.write(_serialize(*row))


def _serialize(codes, label, example_id):
    flat = [np.asarray(level, "<u2").tobytes() for level in codes]
    features = {
        "codes": tf.train.Feature(bytes_list=tf.train.BytesList(value=flat)),
        "label": tf.train.Feature(
            int64_list=tf.train.Int64List(value=[int(label)])
        ),
        "id": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[example_id])
        ),
    }
    return tf.train.Example(
        features=tf.train.Features(feature=features)
    ).SerializeToString()


def read_card(folder: str) -> dict:
    """The card of a folder of codes.

    Returns:
        dict of `map_sizes` (coarsest first), `num_codes`, `class_names`, the
        `fingerprint` of the autoencoder, `examples_per_shard`, `splits`: the
        number of examples of each, and what tells the pictures from others.

    Raises:
        UserError: If there is none, or it is not JSON.
    """
    path = os.path.join(folder, CARD)
    if not tf.io.gfile.exists(path):
        raise UserError(
            f"{folder} is no folder of extracted codes: {CARD} is not in it."
        )
    try:
        with tf.io.gfile.GFile(path) as file:
            card = json.load(file)
        sound = card.keys() >= _CARD_ENTRIES and card["examples_per_shard"] > 0
    except (ValueError, AttributeError, TypeError):
        sound = False
    if not sound:
        raise UserError(
            f"{path} is no card of extracted codes; copy it again, or remove "
            "its folder to extract the codes anew."
        )
    return card


def code_examples(folder: str, card: dict, split: str) -> Examples:
    """Examples out of a folder of shards.

    Args:
        folder: Of the shards.
        card: What `read_card` gave.
        split: `train` or `validation`.

    Returns:
        `Examples` of dicts with `codes`, a tuple of `[h, w]` int32, coarsest
        first, and `label` int32.

    Raises:
        UserError: If a shard is missing or damaged, there are no examples, or
            labels that the card has no class for.
    """
    if not card["splits"][split]:
        raise UserError(f"{folder} holds no codes for {split}.")
    paths = shard_paths(folder, split, card)
    _check_shards(paths, split, card)
    sizes = [tuple(size) for size in card["map_sizes"]]
    features = {
        "codes": tf.io.FixedLenFeature((len(sizes),), tf.string),
        "label": tf.io.FixedLenFeature((), tf.int64),
    }

    def read(serialized):
        example = tf.io.parse_single_example(serialized, features)
        codes = tuple(
            tf.reshape(
                tf.cast(
                    tf.io.decode_raw(example["codes"][i], tf.uint16), "int32"
                ),
                size,
            )
            for i, size in enumerate(sizes)
        )
        return {"codes": codes, "label": tf.cast(example["label"], tf.int32)}

    return Examples(
        lambda: tf.data.TFRecordDataset(paths),
        card["splits"][split],
        read,
        lambda serialized, seed: read(serialized),
        _SHUFFLED,
    )


def _check_shards(paths, split, card):
    """Reads all shards once: training must not end at one of them."""
    left = card["splits"][split]
    for path in paths:
        if not tf.io.gfile.exists(path):
            raise UserError(
                f"{path} is missing; extract the codes again to go on with it, "
                "or copy them again."
            )
        expected = min(left, card["examples_per_shard"])
        labels = _labels(path)
        highest = len(card["class_names"]) - 1
        if len(labels) != expected or (highest > 0 and max(labels) > highest):
            raise UserError(
                f"{path} is damaged or of another folder than its {CARD}; "
                "remove it and extract the codes again to go on with it, or "
                "copy them again."
            )
        left -= expected


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

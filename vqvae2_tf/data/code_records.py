"""Code maps on disk: sharded TFRecords and one JSON card."""

import json
import os
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from vqvae2_tf.data.batches import Examples
from vqvae2_tf.data.files import UserError
from vqvae2_tf.data.files import replacing
from vqvae2_tf.data.files import write_text

CARD = "codes.json"


def shard_path(folder: str, split: str, index: int, count: int) -> str:
    """Path of one shard, `split-00000-of-00004.tfrecord`."""
    return os.path.join(folder, f"{split}-{index:05d}-of-{count:05d}.tfrecord")


def write_shard(path: str, rows: Iterable) -> None:
    """Writes a shard whole or not at all.

    Args:
        path: Of the shard.
        rows: Iterable of `(codes, label)`: a list of `[h, w]` integer arrays,
            coarsest first, with values in [0, 65536), and an int.
    """
    with (
        replacing(path) as temporary,
        tf.io.TFRecordWriter(temporary) as writer,
    ):
        for codes, label in rows:
            writer.write(_serialize(codes, label))


def _serialize(codes, label):
    flat = [np.asarray(level, "<u2").tobytes() for level in codes]
    features = {
        "codes": tf.train.Feature(bytes_list=tf.train.BytesList(value=flat)),
        "label": tf.train.Feature(
            int64_list=tf.train.Int64List(value=[int(label)])
        ),
    }
    return tf.train.Example(
        features=tf.train.Features(feature=features)
    ).SerializeToString()


def write_card(folder: str, card: dict) -> None:
    """Writes the card: shards are complete once it is there.

    Args:
        folder: Of the shards.
        card: dict with `map_sizes` (coarsest first), `num_codes`,
            `class_names`, `fingerprint` of the autoencoder, and `splits`: for
            each the number of `examples` and of `shards`.
    """
    write_text(os.path.join(folder, CARD), json.dumps(card, indent=2) + "\n")


def read_card(folder: str) -> dict | None:
    """The card of a folder, or None if there is none.

    Raises:
        UserError: If it is not JSON.
    """
    path = os.path.join(folder, CARD)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        try:
            return json.load(file)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path} is not a code card; remove its folder to extract the "
                "codes anew."
            ) from error


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
        UserError: If a shard is missing.
    """
    about = card["splits"][split]
    paths = [
        shard_path(folder, split, i, about["shards"])
        for i in range(about["shards"])
    ]
    for path in paths:
        if not tf.io.gfile.exists(path):
            raise UserError(
                f"{path} is missing; remove its folder to extract the codes "
                "anew."
            )
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
        about["examples"],
        read,
        lambda serialized, seed: read(serialized),
    )

"""Code maps on disk."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import integers
from vqvae2_tf.codes import records as code_records
from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.errors import UserError

SIZES = [[1, 2], [3, 4]]


CARD = {
    "map_sizes": SIZES,
    "num_codes": 65536,
    "class_names": [],
    "fingerprint": "",
    "examples_per_shard": 3,
    "splits": {"train": 5, "validation": 0},
}


def write(folder):
    """Two shards of codes up to the largest; returns the rows."""
    rows = [
        ([integers(65536, *size, seed=i) for size in SIZES], i, b"id %d" % i)
        for i in range(5)
    ]
    paths = code_records.shard_paths(folder, "train", CARD)
    for path, part in zip(paths, (rows[:3], rows[3:]), strict=True):
        code_records.write_shard(path, part)
    with open(f"{folder}/{code_records.CARD}", "w", encoding="utf-8") as file:
        json.dump(CARD, file)
    return rows


def test_codes_come_back(tmp_path):
    rows = write(str(tmp_path))
    card = code_records.read_card(str(tmp_path))
    examples = code_records.code_examples(str(tmp_path), card, "train")
    seen = list(evaluation_batches(examples, 1))
    assert len(seen) == 5
    for batch, record, (codes, label, example_id) in zip(
        seen, examples.open(), rows, strict=True
    ):
        assert batch["label"].numpy() == [label]
        for read, written in zip(batch["codes"], codes, strict=True):
            np.testing.assert_array_equal(read[0], written)
        example = tf.train.Example.FromString(record.numpy())
        ids = example.features.feature["id"].bytes_list.value
        assert list(ids) == [example_id]


def test_a_failed_shard_leaves_nothing(tmp_path):
    def rows():
        yield [integers(3, *size) for size in SIZES], 0, b""
        raise RuntimeError("stopped")

    path = code_records.shard_paths(str(tmp_path), "train", CARD)[0]
    with pytest.raises(RuntimeError, match="stopped"):
        code_records.write_shard(path, rows())
    assert list(tmp_path.iterdir()) == []


def test_missing_shards_and_damaged_cards_are_named(tmp_path):
    with pytest.raises(UserError, match="codes.json is not in it"):
        code_records.read_card(str(tmp_path))
    write(str(tmp_path))
    card = code_records.read_card(str(tmp_path))
    (tmp_path / "train-00001-of-00002.tfrecord").unlink()
    with pytest.raises(UserError, match="train-00001-of-00002"):
        code_records.code_examples(str(tmp_path), card, "train")
    with pytest.raises(UserError, match="no codes for validation"):
        code_records.code_examples(str(tmp_path), card, "validation")
    for text in (b"{", b"[]", b"{}", b"\xff"):
        (tmp_path / code_records.CARD).write_bytes(text)
        with pytest.raises(UserError, match="codes.json"):
            code_records.read_card(str(tmp_path))


@pytest.mark.parametrize("part", [0, 10, -1])
def test_damaged_shards_are_named(tmp_path, part):
    write(str(tmp_path))
    path = tmp_path / "train-00001-of-00002.tfrecord"
    path.write_bytes(path.read_bytes()[:part])
    with pytest.raises(UserError, match="train-00001-of-00002.*damaged"):
        code_records.code_examples(str(tmp_path), CARD, "train")


def test_labels_without_a_class_are_told(tmp_path):
    write(str(tmp_path))
    for count, fits in ((5, True), (4, False)):
        card = {**CARD, "class_names": [str(i) for i in range(count)]}
        if fits:
            code_records.code_examples(str(tmp_path), card, "train")
            continue
        with pytest.raises(UserError, match="train-00001-of-00002"):
            code_records.code_examples(str(tmp_path), card, "train")

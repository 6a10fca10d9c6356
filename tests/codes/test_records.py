"""Code maps on disk."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import integers
from vqvae2_tf.codes import records
from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.errors import UserError
from vqvae2_tf.level import Level

LEVELS = [Level("top", 1, 2, 65536), Level("bottom", 3, 4, 65536)]
CARD = {
    "levels": [level.to_json() for level in LEVELS],
    "class_names": [],
    "fingerprint": "",
    "examples_per_shard": 3,
    "splits": {"train": 5, "validation": 0},
}


def write(folder):
    """Two shards of codes up to the largest; returns the rows."""
    rows = [
        (
            [integers(65536, *level.size, seed=i) for level in LEVELS],
            i,
            b"id %d" % i,
        )
        for i in range(5)
    ]
    paths = records.shard_paths(folder, "train", CARD)
    for path, part in zip(paths, (rows[:3], rows[3:]), strict=True):
        records.write_shard(path, LEVELS, part)
    with open(f"{folder}/{records.CARD}", "w", encoding="utf-8") as file:
        json.dump(CARD, file)
    return rows


def test_codes_come_back(tmp_path):
    rows = write(str(tmp_path))
    card = records.read_card(str(tmp_path))
    examples = records.code_examples(str(tmp_path), card, "train")
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


def test_vectors_come_back_beside_codes(tmp_path):
    levels = [LEVELS[0], Level("bottom", 1, 2, None, channels=3)]
    card = {
        **CARD,
        "levels": [level.to_json() for level in levels],
        "splits": {"train": 1},
    }
    codes = np.array([[65535, 0]])
    # Two bytes a value.
    vectors = np.array([[[0.5, -2.25, 1e-3], [np.nan, 0, 7]]], "float32")
    (path,) = records.shard_paths(str(tmp_path), "train", card)
    records.write_shard(path, levels, [([codes, vectors], 0, b"")])
    examples = records.code_examples(str(tmp_path), card, "train")
    (batch,) = evaluation_batches(examples, 1)
    assert batch["codes"][0].dtype == tf.int32
    np.testing.assert_array_equal(batch["codes"][0], codes[None])
    assert batch["codes"][1].dtype == tf.float32
    np.testing.assert_allclose(
        batch["codes"][1], vectors[None], rtol=1e-3, equal_nan=True
    )


def test_a_failed_shard_leaves_nothing(tmp_path):
    def rows():
        yield [integers(3, *level.size) for level in LEVELS], 0, b""
        raise RuntimeError("stopped")

    path = records.shard_paths(str(tmp_path), "train", CARD)[0]
    with pytest.raises(RuntimeError, match="stopped"):
        records.write_shard(path, LEVELS, rows())
    assert list(tmp_path.iterdir()) == []


def test_missing_shards_and_damaged_cards_are_named(tmp_path):
    with pytest.raises(UserError, match="has no codes.json"):
        records.read_card(str(tmp_path))
    write(str(tmp_path))
    card = records.read_card(str(tmp_path))
    (tmp_path / "train-00001-of-00002.tfrecord").unlink()
    with pytest.raises(UserError, match="train-00001-of-00002"):
        records.code_examples(str(tmp_path), card, "train")
    with pytest.raises(UserError, match="no codes for validation"):
        records.code_examples(str(tmp_path), card, "validation")
    other_level = {**card, "levels": [{"name": "top", "size": 8}]}
    other = json.dumps(other_level).encode()
    for text in (b"{", b"[]", b"{}", b"\xff", other):
        (tmp_path / records.CARD).write_bytes(text)
        with pytest.raises(UserError, match="codes.json"):
            records.read_card(str(tmp_path))


@pytest.mark.parametrize("part", [0, 10, -1])
def test_damaged_shards_are_named(tmp_path, part):
    write(str(tmp_path))
    path = tmp_path / "train-00001-of-00002.tfrecord"
    path.write_bytes(path.read_bytes()[:part])
    with pytest.raises(UserError, match="train-00001-of-00002.*damaged"):
        records.code_examples(str(tmp_path), CARD, "train")


def test_shards_are_checked_once_and_again_when_they_change(
    tmp_path, monkeypatch
):
    write(str(tmp_path))
    read = []

    def labels(path, original=records._labels):
        read.append(path[-23:-18])
        return original(path)

    monkeypatch.setattr(records, "_labels", labels)
    for _ in range(2):
        records.code_examples(str(tmp_path), CARD, "train")
    assert read == ["00000", "00001"]
    path = tmp_path / "train-00001-of-00002.tfrecord"
    os.utime(path, (1, 1))
    records.code_examples(str(tmp_path), CARD, "train")
    assert read == ["00000", "00001", "00001"]
    path.write_bytes(path.read_bytes()[:-1])
    for _ in range(2):
        with pytest.raises(UserError, match="damaged"):
            records.code_examples(str(tmp_path), CARD, "train")


@pytest.mark.parametrize("text", ["{", "[]"])
def test_codes_that_cannot_be_marked_as_checked_are_read(tmp_path, text):
    write(str(tmp_path))
    (tmp_path / "checked.json").write_text(text)
    tmp_path.chmod(0o555)
    examples = records.code_examples(str(tmp_path), CARD, "train")
    tmp_path.chmod(0o755)
    assert examples.count == 5


def test_labels_without_a_class_are_reported(tmp_path):
    write(str(tmp_path))
    for count, fits in ((5, True), (4, False)):
        card = {**CARD, "class_names": [str(i) for i in range(count)]}
        if fits:
            records.code_examples(str(tmp_path), card, "train")
            continue
        with pytest.raises(UserError, match="train-00001-of-00002"):
            records.code_examples(str(tmp_path), card, "train")

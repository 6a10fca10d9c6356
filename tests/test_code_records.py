"""Code maps on disk."""

import numpy as np
import pytest

from tests.test_case import integers
from vqvae2_tf.data import code_records
from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.files import UserError

SIZES = [[1, 2], [3, 4]]


def write(folder):
    """Two shards of codes up to the largest; returns the rows."""
    rows = [
        ([integers(65536, *size, seed=i) for size in SIZES], i)
        for i in range(5)
    ]
    for index, part in enumerate((rows[:3], rows[3:])):
        path = code_records.shard_path(folder, "train", index, 2)
        code_records.write_shard(path, part)
    card = {
        "map_sizes": SIZES,
        "splits": {"train": {"examples": 5, "shards": 2}},
    }
    code_records.write_card(folder, card)
    return rows


def test_codes_come_back(tmp_path):
    rows = write(str(tmp_path))
    card = code_records.read_card(str(tmp_path))
    examples = code_records.code_examples(str(tmp_path), card, "train")
    seen = list(evaluation_batches(examples, 1))
    assert len(seen) == 5
    for batch, (codes, label) in zip(seen, rows, strict=True):
        assert batch["label"].numpy() == [label]
        for read, written in zip(batch["codes"], codes, strict=True):
            np.testing.assert_array_equal(read[0], written)


def test_a_failed_shard_leaves_nothing(tmp_path):
    def rows():
        yield [integers(3, *size) for size in SIZES], 0
        raise RuntimeError("stopped")

    path = code_records.shard_path(str(tmp_path), "train", 0, 1)
    with pytest.raises(RuntimeError, match="stopped"):
        code_records.write_shard(path, rows())
    assert list(tmp_path.iterdir()) == []


def test_missing_shards_and_damaged_cards_are_named(tmp_path):
    assert code_records.read_card(str(tmp_path)) is None
    write(str(tmp_path))
    card = code_records.read_card(str(tmp_path))
    (tmp_path / "train-00001-of-00002.tfrecord").unlink()
    with pytest.raises(UserError, match="train-00001-of-00002"):
        code_records.code_examples(str(tmp_path), card, "train")
    (tmp_path / code_records.CARD).write_text("{")
    with pytest.raises(UserError, match="codes.json"):
        code_records.read_card(str(tmp_path))

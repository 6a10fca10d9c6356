"""Tests of folders of features."""

import numpy as np
import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation import features

pytestmark = pytest.mark.any_backend

CARD = {
    "network": "lite0",
    "weights": "0a" * 32,
    "resize": "bilinear",
    "layer": "pool",
    "input": "folder:images",
    "version": "0.1.0",
}
ARRAYS = {
    "features": np.random.default_rng(0).normal(size=(10, 3)),
    "labels": np.arange(10),
}


def writer(folder, **changes):
    return features.Writer(
        str(folder), {**CARD, **changes}, 10, tuple(ARRAYS), shard_size=4
    )


def write_all(folder):
    out = writer(folder)
    written = []
    for shard, rows in out.missing():
        out.write(shard, **{name: a[rows] for name, a in ARRAYS.items()})
        written.append(shard)
    return written


def test_what_is_written_is_read(tmp_path):
    assert write_all(tmp_path) == [0, 1, 2]
    assert (tmp_path / "features-00002-of-00003.npy").exists()
    card, arrays = features.open_features(str(tmp_path))
    assert card.items() >= {**CARD, "count": 10}.items()
    rows = arrays["features"]
    expected = ARRAYS["features"].astype("float32")
    assert (rows.shape, rows.dtype) == ((10, 3), np.dtype("float32"))
    for index in (slice(None), slice(3, 9), np.array([9, 0, 4, 4, 3])):
        np.testing.assert_array_equal(rows[index], expected[index])
    chosen = features.Chosen(rows, [7, 1, 0])
    assert (len(chosen), chosen.shape) == (3, (3, 3))
    np.testing.assert_array_equal(chosen[1:], expected[[1, 0]])
    assert arrays["labels"][:].tolist() == list(range(10))


def test_a_stopped_writer_goes_on_with_what_is_missing(tmp_path):
    write_all(tmp_path)
    (tmp_path / "labels-00001-of-00003.npy").unlink()
    with pytest.raises(UserError, match="1 of 3 shards are missing"):
        features.open_features(str(tmp_path))
    assert write_all(tmp_path) == [1]
    assert len(features.open_features(str(tmp_path))[1]["features"]) == 10


def test_a_folder_of_another_card_is_refused(tmp_path):
    writer(tmp_path)
    # As long as there is nothing to lose.
    writer(tmp_path, weights="0b")
    writer(tmp_path)
    write_all(tmp_path)
    with pytest.raises(UserError, match="another weights: .*Expected.*0a0a"):
        writer(tmp_path, weights="0b")


def test_arrays_that_do_not_fit_are_refused(tmp_path):
    out = writer(tmp_path)
    for arrays in ({"features": np.ones((4, 3))}, {**ARRAYS}):
        with pytest.raises(ValueError, match="Expected 4 rows"):
            out.write(0, **arrays)


def test_damaged_folders_are_reported(tmp_path):
    with pytest.raises(UserError, match="one without card.json"):
        features.open_features(str(tmp_path))
    write_all(tmp_path)
    path = tmp_path / "features-00000-of-00003.npy"
    np.save(path, np.ones((4, 2), "float32"))
    with pytest.raises(UserError, match="do not fit its card"):
        features.open_features(str(tmp_path))
    path.write_bytes(b"no array")
    with pytest.raises(UserError, match="features-00000.* is damaged"):
        features.open_features(str(tmp_path))
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(UserError, match="card.json is damaged"):
        features.open_features(str(tmp_path))


def test_features_of_two_networks_are_not_compared():
    cards = {"samples": CARD, "originals": CARD}
    features.check_same_network(cards)
    cards["reconstructions"] = {**CARD, "resize": "area"}
    with pytest.raises(UserError) as error:
        features.check_same_network(cards)
    assert str(error.value) == (
        "--reconstructions: expected features of the resize of --samples, "
        "bilinear. Received: area"
    )

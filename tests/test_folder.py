"""A folder of pictures as a data set."""

import numpy as np
import pytest
from PIL import Image

from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.batches import picture_examples
from vqvae2_tf.data.files import UserError
from vqvae2_tf.data.source import open_source


def save_pictures(folder, count, shape=(12, 12, 3), seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(seed).integers(256, size=(count, *shape))
    for i, pixels in enumerate(draws.astype("uint8")):
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")


def open_folder(folder, tmp_path, image_size=(8, 8), channels=3, share=0.2):
    source = open_source(
        f"folder:{folder}", str(tmp_path / "tfds"), image_size, channels, share
    )
    source.prepare()
    return source


def images_of(source, split, size=(8, 8), channels=3):
    examples = picture_examples(source, split, size, channels)
    rows, labels = [], []
    for batch in evaluation_batches(examples, 4):
        kept = batch["weight"].numpy() > 0
        rows.append(batch["image"].numpy()[kept])
        labels.append(batch["label"].numpy()[kept])
    return np.concatenate(rows), np.concatenate(labels)


def test_subfolders_are_classes_and_splits_are_disjoint(tmp_path):
    save_pictures(tmp_path / "p" / "cats", 11, seed=1)
    save_pictures(tmp_path / "p" / "dogs", 9, seed=2)
    source = open_folder(tmp_path / "p", tmp_path)
    assert source.class_names == ["cats", "dogs"]
    assert 1 <= source.num_examples("validation") <= 8
    train, train_labels = images_of(source, "train")
    held_out, labels = images_of(source, "validation")
    assert sorted(np.bincount([*train_labels, *labels])) == [9, 11]
    everything = np.concatenate([train, held_out]).reshape(20, -1)
    assert len(np.unique(everything, axis=0)) == 20


def test_pixels_are_those_of_the_file(tmp_path):
    save_pictures(tmp_path / "p", 3, (8, 8, 3))
    source = open_folder(tmp_path / "p", tmp_path)
    assert source.class_names == []
    seen = np.concatenate(
        [images_of(source, split)[0] for split in ("train", "validation")]
    )
    expected = [
        np.asarray(Image.open(path)) / 127.5 - 1.0
        for path in sorted((tmp_path / "p").iterdir())
    ]
    distances = np.abs(seen[:, None] - np.array(expected)).max(axis=(2, 3, 4))
    assert (distances.min(axis=1) < 1e-6).all()
    assert sorted(distances.argmin(axis=1)) == [0, 1, 2]


def test_copies_of_a_picture_fall_to_the_same_split(tmp_path):
    for i in range(4):
        save_pictures(tmp_path / "p" / str(i), 10)
    source = open_folder(tmp_path / "p", tmp_path)
    train = images_of(source, "train")[0].reshape(-1, 8 * 8 * 3)
    held_out = images_of(source, "validation")[0].reshape(-1, 8 * 8 * 3)
    distances = np.abs(train[:, None] - held_out).max(axis=-1)
    assert distances.min() > 0


def test_non_square_grey_pictures_are_covered_and_cut(tmp_path):
    save_pictures(tmp_path / "p", 4, (10, 30, 3))
    source = open_folder(tmp_path / "p", tmp_path, (8, 12), 1)
    images, _ = images_of(source, "train", (8, 12), 1)
    assert images.shape[1:] == (8, 12, 1)


def test_broken_pictures_are_named(tmp_path):
    save_pictures(tmp_path / "p", 6)
    (tmp_path / "p" / "empty.png").write_bytes(b"")
    whole = (tmp_path / "p" / "000.png").read_bytes()
    (tmp_path / "p" / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"(empty|half)\.png") as caught:
        open_folder(tmp_path / "p", tmp_path, share=0.5)
    assert "\n" not in str(caught.value)
    assert "000.png" not in str(caught.value)


def test_a_picture_stays_in_its_split_when_others_come(tmp_path):
    save_pictures(tmp_path / "p" / "old", 30)
    before = images_of(open_folder(tmp_path / "p", tmp_path), "validation")[0]
    save_pictures(tmp_path / "p" / "new", 30, seed=1)
    source = open_folder(tmp_path / "p", tmp_path)
    total = source.num_examples("train") + source.num_examples("validation")
    assert total == 60
    after = images_of(source, "validation")[0]
    distances = np.abs(before[:, None] - after).max(axis=(2, 3, 4))
    assert (distances.min(axis=1) == 0).all()


def test_missing_and_empty_folders_are_told(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        open_source(f"folder:{tmp_path / 'none'}")
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match="two or more pictures"):
        open_source(f"folder:{tmp_path}")


def test_an_unknown_data_set_is_told_with_the_nearest_name():
    with pytest.raises(UserError, match="emoji64"):
        open_source("emogi64")

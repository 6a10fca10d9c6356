"""A folder of images as a data set."""

import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.batches import image_examples
from vqvae2_tf.data.source import open_source
from vqvae2_tf.errors import UserError


def save_images(folder, count, shape=(12, 12, 3), seed=0):
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
    examples = image_examples(source, split, size, channels)
    rows, labels = [], []
    for batch in evaluation_batches(examples, 4):
        kept = batch["weight"].numpy() > 0
        rows.append(batch["image"].numpy()[kept])
        labels.append(batch["label"].numpy()[kept])
    return np.concatenate(rows), np.concatenate(labels)


def test_subfolders_are_classes_and_splits_are_disjoint(tmp_path):
    save_images(tmp_path / "p" / "cats", 11, seed=1)
    save_images(tmp_path / "p" / "dogs", 9, seed=2)
    source = open_folder(tmp_path / "p", tmp_path)
    assert source.class_names == ["cats", "dogs"]
    assert 1 <= source.num_examples("validation") <= 8
    train, train_labels = images_of(source, "train")
    held_out, labels = images_of(source, "validation")
    assert sorted(np.bincount([*train_labels, *labels])) == [9, 11]
    everything = np.concatenate([train, held_out]).reshape(20, -1)
    assert len(np.unique(everything, axis=0)) == 20


def test_names_with_wildcards_are_read(tmp_path):
    save_images(tmp_path / "[1]" / "what? [a]*", 5)
    source = open_folder(tmp_path / "[1]" / "what? [a]*", tmp_path / "[2]")
    count = sum(len(images_of(source, s)[0]) for s in ("train", "validation"))
    assert count == 5


def test_pixels_are_those_of_the_file(tmp_path):
    save_images(tmp_path / "p", 3, (8, 8, 3))
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


def test_copies_of_an_image_fall_to_the_same_split(tmp_path):
    for i in range(4):
        save_images(tmp_path / "p" / str(i), 10)
    source = open_folder(tmp_path / "p", tmp_path)
    train = images_of(source, "train")[0].reshape(-1, 8 * 8 * 3)
    held_out = images_of(source, "validation")[0].reshape(-1, 8 * 8 * 3)
    distances = np.abs(train[:, None] - held_out).max(axis=-1)
    assert distances.min() > 0


def test_non_square_grey_images_are_covered_and_cut(tmp_path):
    save_images(tmp_path / "p", 4, (10, 30, 3))
    source = open_folder(tmp_path / "p", tmp_path, (8, 12), 1)
    images, _ = images_of(source, "train", (8, 12), 1)
    assert images.shape[1:] == (8, 12, 1)


def save_broken(folder):
    """Two files that are no images, and one that is half of one."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(9).integers(256, size=(32, 32, 3))
    Image.fromarray(noise.astype("uint8")).save(folder / "half.png")
    whole = (folder / "half.png").read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "page.jpg").write_bytes(b"<html>not found</html>")
    return ["empty.png", "half.png", "page.jpg"]


def test_broken_images_of_all_splits_are_left_out_and_named(tmp_path):
    save_images(tmp_path / "p", 6)
    broken = save_broken(tmp_path / "p")
    for _ in range(2):  # Looked at now, and known.
        source = open_folder(tmp_path / "p", tmp_path, share=0.5)
        found = source.describe()
        assert "3 cannot be decoded: " in found
        for name in broken:
            assert f"{name} (" in found
    kept = [len(images_of(source, s)[0]) for s in ("train", "validation")]
    assert sum(kept) == 6


def test_a_class_of_broken_images_is_none(tmp_path):
    for i, name in enumerate("ab"):
        save_images(tmp_path / "p" / name, 4, seed=i)
    save_broken(tmp_path / "p" / "c")
    source = open_folder(tmp_path / "p", tmp_path)
    assert source.class_names == ["a", "b"]
    shutil.rmtree(tmp_path / "p" / "b")
    source = open_folder(tmp_path / "p", tmp_path)
    assert source.class_names == []
    assert set(images_of(source, "train")[1]) == {0}


def test_what_was_found_is_described(tmp_path):
    for name, count in (
        ("train/b", 3),
        ("train/a", 2),
        ("Val/a", 4),
        ("test", 1),
    ):
        save_images(tmp_path / "p" / name, count, seed=count)
    (tmp_path / "p" / "notes.txt").touch()
    (tmp_path / "p" / "__MACOSX").mkdir()
    source = open_folder(tmp_path / "p", tmp_path)
    assert source.describe() == (
        "images: 5 to train on; 4 held out (Val); 2 classes (a, b); 1 left "
        "alone (test); not read: 1 .txt, __MACOSX (hidden or of the system)"
    )


def test_the_same_images_elsewhere_are_the_same_data(tmp_path):
    for name in ("cats", "dogs"):
        save_images(tmp_path / "p" / name, 5, seed=len(name[0]) + ord(name[0]))
    one = open_folder(tmp_path / "p", tmp_path)
    version = one.builder.info.full_name
    before = [images_of(one, s) for s in ("train", "validation")]
    copy = shutil.copytree(
        tmp_path / "p", tmp_path / "q", copy_function=shutil.copyfile
    )
    (copy / "cats" / "000.png").rename(copy / "cats" / "renamed.png")
    # In another data_dir, where nothing is prepared yet.
    (tmp_path / "other").mkdir()
    other = open_folder(copy, tmp_path / "other")
    assert other.builder.info.full_name == version
    after = [images_of(other, s) for s in ("train", "validation")]
    keras.tree.map_structure(np.testing.assert_array_equal, after, before)
    (copy / "cats" / "001.png").rename(copy / "dogs" / "moved.png")
    moved = open_folder(copy, tmp_path / "other")
    assert moved.builder.info.full_name != version


def test_an_image_that_changes_meanwhile_is_reported(tmp_path):
    save_images(tmp_path / "p", 4)
    paths = list((tmp_path / "p").iterdir())
    for path in paths:
        # The same size, whatever the pixels.
        Image.open(path).save(path, compress_level=0)
        os.utime(path, ns=(1, 1))
    source = open_source(f"folder:{tmp_path / 'p'}", str(tmp_path), (8, 8))
    save_images(tmp_path / "p", 4, seed=1)
    for path in paths:
        Image.open(path).save(path, compress_level=0)
        os.utime(path, ns=(1, 1))
    with pytest.raises(UserError, match="has changed since the start"):
        source.prepare()
    # The next start looks again.
    open_source(f"folder:{tmp_path / 'p'}", str(tmp_path), (8, 8)).prepare()


def test_folders_of_one_relative_path_are_told_apart(tmp_path, monkeypatch):
    versions = []
    for seed, name in enumerate("ab"):
        save_images(tmp_path / name / "p", 4, (1, 1, 3), seed=seed)
        for path in (tmp_path / name / "p").iterdir():
            os.utime(path, ns=(1, 1))
        monkeypatch.chdir(tmp_path / name)
        source = open_source("folder:p", str(tmp_path), (8, 8))
        versions.append(source.builder.info.full_name)
    assert versions[0] != versions[1]


def test_copies_of_training_images_are_not_held_out(tmp_path):
    save_images(tmp_path / "p" / "train", 4)
    save_images(tmp_path / "p" / "val", 3, seed=1)
    for number in (1, 2):
        shutil.copy(
            tmp_path / "p" / "train" / f"00{number}.png",
            tmp_path / "p" / "val" / f"copy {number}.png",
        )
    source = open_folder(tmp_path / "p", tmp_path)
    assert "3 held out (val)" in source.describe()
    assert (
        "2 of val left out as copies of images to train on: val/copy 1.png, "
        "val/copy 2.png"
    ) in source.describe()
    assert source.num_examples("validation") == 3
    for path in (tmp_path / "p" / "val").glob("0*.png"):
        path.unlink()
    with pytest.raises(UserError, match="no copy of one to train on"):
        open_folder(tmp_path / "p", tmp_path)


def test_held_out_images_may_have_no_class(tmp_path):
    for i, name in enumerate(["train/cats", "train/dogs", "val"]):
        save_images(tmp_path / "p" / name, 3, seed=i)
    source = open_folder(tmp_path / "p", tmp_path)
    assert source.class_names == ["cats", "dogs"]
    assert (images_of(source, "validation")[1] == -1).all()


def test_broken_images_leave_the_split_as_it_is(tmp_path):
    save_images(tmp_path / "p", 20)
    alone = open_folder(tmp_path / "p", tmp_path)
    before = [images_of(alone, s)[0] for s in ("train", "validation")]
    save_broken(tmp_path / "p")
    beside = open_folder(tmp_path / "p", tmp_path)
    for split, images in zip(("train", "validation"), before, strict=True):
        np.testing.assert_array_equal(images_of(beside, split)[0], images)


def test_a_folder_of_broken_images_is_reported(tmp_path):
    save_images(tmp_path / "p", 1)
    broken = save_broken(tmp_path / "p")
    with pytest.raises(UserError, match="found 1 besides 3") as caught:
        open_folder(tmp_path / "p", tmp_path)
    for name in broken:
        assert f"{name} (" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sizes_and_modes_may_be_mixed(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    rng = np.random.default_rng(0)
    modes = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"]
    for i, mode in enumerate(modes):
        size = (5 + 3 * i, 30 - 2 * i)
        draws = rng.integers(256, size=(*size, 3)).astype("uint8")
        image = Image.fromarray(draws).convert(mode)
        ending = "jpg" if mode in ("CMYK", "YCbCr") else "png"
        image.save(folder / f"{mode}.{ending}")
    wide = rng.integers(65536, size=(20, 9)).astype("uint16")
    Image.fromarray(wide).save(folder / "16 bit.png")
    source = open_folder(folder, tmp_path)
    assert "cannot be decoded" not in source.describe()
    images = [images_of(source, s)[0] for s in ("train", "validation")]
    assert np.concatenate(images).shape == (9, 8, 8, 3)


def test_a_folder_in_the_cloud_is_read(tmp_path):
    # TensorFlow's ram:// goes where gs:// does: through tf.io.gfile. It cannot
    # rename a folder, so that TFDS has to prepare its data elsewhere.
    save_images(tmp_path / "p" / "cats", 5, seed=1)
    save_images(tmp_path / "p" / "dogs", 5, seed=2)
    save_broken(tmp_path / "p" / "dogs")
    for path in (tmp_path / "p").rglob("*.*"):
        copy = f"ram://cloud/p/{path.relative_to(tmp_path / 'p')}"
        tf.io.gfile.makedirs(copy.rpartition("/")[0])
        tf.io.gfile.copy(str(path), copy)
    cloud = open_folder("ram://cloud/p/", tmp_path / "cloud")
    local = open_folder(tmp_path / "p", tmp_path)
    assert cloud.describe() == local.describe()
    assert "3 cannot be decoded" in cloud.describe()
    assert cloud.builder.info.full_name == local.builder.info.full_name
    assert cloud.class_names == ["cats", "dogs"]
    for split in ("train", "validation"):
        for one, other in zip(
            images_of(cloud, split), images_of(local, split), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_an_image_stays_in_its_split_when_others_come(tmp_path):
    save_images(tmp_path / "p" / "old", 30)
    before = images_of(open_folder(tmp_path / "p", tmp_path), "validation")[0]
    save_images(tmp_path / "p" / "new", 30, seed=1)
    source = open_folder(tmp_path / "p", tmp_path)
    total = source.num_examples("train") + source.num_examples("validation")
    assert total == 60
    after = images_of(source, "validation")[0]
    distances = np.abs(before[:, None] - after).max(axis=(2, 3, 4))
    assert (distances.min(axis=1) == 0).all()


def test_missing_and_empty_folders_are_reported(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        open_source(f"folder:{tmp_path / 'none'}")
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match="two or more images"):
        open_source(f"folder:{tmp_path}")


@pytest.mark.parametrize("name", ["Validation", "test"])
def test_folders_named_as_splits_are_the_splits(tmp_path, name):
    save_images(tmp_path / "p" / "train", 7, seed=1)
    save_images(tmp_path / "p" / name / "deep", 2, seed=2)
    source = open_folder(tmp_path / "p", tmp_path)
    assert source.class_names == []
    assert source.num_examples("train") == 7
    held_out, _ = images_of(source, "validation")
    expected = np.random.default_rng(2).integers(256, size=(2, 12, 12, 3))
    # Scaled, but as dark or bright as before.
    np.testing.assert_allclose(
        np.sort(held_out.mean(axis=(1, 2, 3))),
        np.sort(expected.mean(axis=(1, 2, 3)) / 127.5 - 1.0),
        atol=0.05,
    )


def test_splits_have_classes_of_their_own_subfolders(tmp_path):
    for split, count in (("train", 4), ("valid", 2)):
        for i, name in enumerate(("cats", "dogs")):
            folder = tmp_path / "p" / split / name
            save_images(folder, count + i, seed=2 * count + i)
    source = open_folder(tmp_path / "p", tmp_path)
    assert source.class_names == ["cats", "dogs"]
    for split, counts in (("train", [4, 5]), ("validation", [2, 3])):
        _, labels = images_of(source, split)
        np.testing.assert_array_equal(np.bincount(labels), counts)


def test_a_split_of_broken_images_is_reported(tmp_path):
    save_images(tmp_path / "p" / "train", 3)
    (tmp_path / "p" / "val").mkdir()
    (tmp_path / "p" / "val" / "0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="for validation can be decoded"):
        open_folder(tmp_path / "p", tmp_path)

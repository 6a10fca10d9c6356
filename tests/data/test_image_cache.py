"""Decoded images on disk, in place of the files they are of."""

import io
import os

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from vqvae2_tf.data import image_cache
from vqvae2_tf.data.batches import image_examples
from vqvae2_tf.data.batches import training_batches
from vqvae2_tf.data.image_cache import cached_examples
from vqvae2_tf.data.source import ImageSource
from vqvae2_tf.errors import UserError

SIZE = (8, 12)


class Sizes(tfds.core.GeneratorBasedBuilder):
    """Ten images of several sizes, two of which have alpha."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        draw = np.random.default_rng(0)
        for i in range(10):
            channels = 4 if i % 5 == 0 else 3
            # Smooth, so that scaling does not leave [0, 1].
            shape = (4, 5, channels)
            image = Image.fromarray(
                draw.integers(256, size=shape, dtype="uint8")
            )
            file = io.BytesIO()
            image.resize((20 + 5 * i, 30)).save(file, "PNG")
            yield i, {"image": io.BytesIO(file.getvalue()), "label": i}


@pytest.fixture
def source(tmp_path):
    builder = Sizes(data_dir=str(tmp_path))
    config = tfds.download.DownloadConfig(num_shards=3)
    builder.download_and_prepare(download_config=config)
    return ImageSource(builder, validation_share=0.2)


def files(source):
    """Path and time of change of each cached shard."""
    folder = os.path.join(source.data_dir, "cached_images")
    return {
        os.path.join(path, name): os.stat(os.path.join(path, name)).st_mtime_ns
        for path, _, names in os.walk(folder)
        for name in names
    }


def batches_of(examples, count=4):
    return list(
        training_batches(examples, 3, 5).take(count).as_numpy_iterator()
    )


@pytest.mark.parametrize(
    ("channels", "augment"),
    [
        (3, ("crop", "flip", "noise")),
        pytest.param(3, (), marks=pytest.mark.large),
        pytest.param(1, ("shift", "contrast"), marks=pytest.mark.large),
    ],
)
def test_batches_are_the_same_but_for_rounding(source, channels, augment):
    settings = (SIZE, channels, augment)
    plain = image_examples(source, "train", *settings)
    for _ in range(2):
        cached = cached_examples(source, *settings)
        assert cached.shard_lengths == plain.shard_lengths
        pairs = zip(batches_of(plain), batches_of(cached), strict=True)
        for one, other in pairs:
            np.testing.assert_array_equal(one["label"], other["label"])
            assert one["image"].shape == other["image"].shape
            # Half of one of 255 values, which contrast makes a tenth larger.
            difference = np.abs(one["image"] - other["image"])
            assert difference.max() <= 1.15 / 255


def test_images_are_decoded_once(source, monkeypatch):
    cached_examples(source, SIZE, 3, ("crop",))
    before = files(source)
    assert len(before) == 3

    def damaged(*args):
        raise AssertionError

    monkeypatch.setattr("vqvae2_tf.data.batches.decode", damaged)
    monkeypatch.setattr(ImageSource, "open_part", damaged)
    batches_of(cached_examples(source, SIZE, 3, ("crop", "hue")))
    assert files(source) == before


def test_missing_shards_alone_are_written(source):
    expected = batches_of(cached_examples(source, SIZE, 3))
    before = files(source)
    for path in sorted(before)[::2]:
        os.remove(path)
    found = batches_of(cached_examples(source, SIZE, 3))
    after = files(source)
    assert after.keys() == before.keys()
    assert after[sorted(before)[1]] == before[sorted(before)[1]]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])


def test_other_sizes_and_data_have_other_folders(source):
    def folder(size=SIZE, channels=3, augment=("flip",), source=source):
        return image_cache.folder_of(source, size, channels, augment)

    assert folder(augment=()) == folder()
    folders = {folder(), folder(size=(8, 8)), folder(channels=1)}
    # More room.
    folders.add(folder(augment=("crop",)))
    folders.add(folder(source=ImageSource(source.builder, 0.3)))
    # Prepared again.
    os.utime(os.path.join(source.builder.data_dir, "dataset_info.json"), (1, 1))
    folders.add(folder())
    assert len(folders) == 6


def test_an_interrupted_shard_leaves_nothing(source, monkeypatch):
    def stopped(self, record):
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.io.TFRecordWriter, "write", stopped)
    with pytest.raises(KeyboardInterrupt):
        cached_examples(source, SIZE, 3)
    assert not files(source)


def test_damage_names_the_folder(source):
    examples = cached_examples(source, SIZE, 3)
    folder = image_cache.folder_of(source, SIZE, 3)
    path = sorted(files(source))[1]
    with open(path, "r+b") as file:
        file.truncate(os.stat(path).st_size // 2)
    with (
        pytest.raises(UserError, match="cached images.*remove") as caught,
        image_cache.damage_reported(folder),
    ):
        batches_of(examples)
    assert folder in str(caught.value)


def test_they_are_not_for_evaluation(source):
    examples = cached_examples(source, SIZE, 3)
    with pytest.raises(ValueError, match="training alone"):
        examples.read(next(iter(examples.open())))

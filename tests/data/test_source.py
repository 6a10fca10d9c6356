"""Data sets by their names."""

import io
import os
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.batches import image_examples
from vqvae2_tf.data.decoding import decode_image
from vqvae2_tf.data.source import ImageSource
from vqvae2_tf.data.source import open_source
from vqvae2_tf.errors import UserError


def png(image, **options):
    """A PNG file in memory."""
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def pixels(channels, dtype="uint8"):
    """`[8, 12, channels]`; even channels end with alpha, left half clear."""
    largest = np.iinfo(dtype).max
    draws = np.random.default_rng(0).integers(
        largest, size=(8, 12, channels), endpoint=True
    )
    if channels in (2, 4):
        draws[:, :6, -1] = 0
    return draws.astype(dtype)


def with_clear_colour():
    """A palette of four colours; those of the left half are clear."""
    indices = np.tile(np.repeat([[0, 1, 2, 3]], 3, axis=1), (8, 1))
    image = Image.fromarray(indices.astype("uint8")).convert("P")
    image.putpalette(list(range(0, 240, 20)))
    return png(image, transparency=b"\0\0\x80\xff")


FEATURES = {
    "grey_and_alpha": (2, "uint8", pixels(2)),
    "rgba": (4, "uint8", pixels(4)),
    "rgba_of_16_bits": (4, "uint16", pixels(4, "uint16")),
    "file_with_alpha": (3, "uint8", png(Image.fromarray(pixels(4)))),
    "file_with_palette": (3, "uint8", with_clear_colour()),
    "grey_of_16_bits": (1, "uint16", pixels(1, "uint16")),
    "rgb_of_16_bits": (3, "uint16", pixels(3, "uint16")),
    "floats": (1, "float32", np.full((8, 12, 1), 0.5, "float32")),
}


class SmallImages(tfds.core.GeneratorBasedBuilder):
    """Two copies of an image of the kind that the configuration names."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=name, description=name)
        for name in FEATURES
    ]

    def _info(self):
        channels, dtype, _ = FEATURES[self.builder_config.name]
        image = tfds.features.Image(
            shape=(None, None, channels), dtype=np.dtype(dtype).type
        )
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"image": image})
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        image = FEATURES[self.builder_config.name][2]
        for i in range(2):
            is_file = isinstance(image, bytes)
            yield i, {"image": io.BytesIO(image) if is_file else image}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [n for n in FEATURES if n != "floats"])
def test_transparency_and_16_bits_are_read_as_in_folders(
    tmp_path, name, channels
):
    source = open_source(f"small_images/{name}", str(tmp_path))
    source.prepare()
    assert source.describe() == "images: 1 to train on; 1 held out; no classes"
    examples = image_examples(source, "train", (8, 12), channels)
    (batch,) = evaluation_batches(examples, 1)
    data = FEATURES[name][2]
    if not isinstance(data, bytes):
        data = tf.io.encode_png(data).numpy()
    expected = np.float32(decode_image(data, channels)) / 127.5 - 1
    found = batch["image"][0].numpy()
    expected = expected.reshape(found.shape)
    # One of 255 values.
    np.testing.assert_allclose(found, expected, atol=2.01 / 255)
    if "rgb_of" not in name and "grey_of" not in name:
        np.testing.assert_allclose(found[:, :6], 1, atol=1e-3)
        assert np.abs(found[:, 6:] - 1).max() > 0.3


def test_floats_are_refused_when_the_data_set_is_opened(tmp_path):
    with pytest.raises(UserError, match="small_images/floats.*float32"):
        open_source("small_images/floats", str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_the_packages_own_data_set_needs_no_download(tmp_path):
    source = open_source("emoji64", str(tmp_path))
    assert not source.builder.is_prepared()
    source.prepare()
    assert source.builder.is_prepared()
    assert source.num_examples("train") == 1678
    assert source.num_examples("validation") == 192
    assert len(source.class_names) == 99
    labels = [
        example["label"]
        for example in image_examples(source, "train", (8, 8), 3).open()
    ]
    assert (np.bincount(labels, minlength=99) > 0).all()
    whole = source.builder.as_dataset("train").as_numpy_iterator()
    groups = {(example["label"], example["group"]) for example in whole}
    assert len(groups) == 99
    assert {group for _, group in groups} == set(range(9))


class Numbered(tfds.core.GeneratorBasedBuilder):
    """Ten images, whose labels are their numbers."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(1, 1, 3)),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(10):
            yield i, {"image": np.full((1, 1, 3), i, "uint8"), "label": i}


# Riegeli's package has to be built.
@pytest.mark.parametrize("name", ["tfrecord", "array_record", "parquet"])
def test_files_of_any_format_are_read_in_turn(tmp_path, name):
    builders = {
        x: Numbered(data_dir=str(tmp_path / x), file_format=x)
        for x in {"tfrecord", name}
    }
    for builder in builders.values():
        config = tfds.download.DownloadConfig(num_shards=3)
        builder.download_and_prepare(download_config=config)
    # The held-out images begin within a shard.
    source = ImageSource(builders[name], validation_share=0.4)
    assert source.shard_lengths("train") == [3, 3]
    assert source.shard_lengths("validation") == [1, 3]
    train, validation = (
        image_examples(source, split, (1, 1), 3)
        for split in ("train", "validation")
    )
    raw = [
        (e["label"], e["image"], e["id"].decode())
        for examples in (train, validation)
        for e in examples.open().as_numpy_iterator()
    ]
    # TFDS itself reads no array records by TensorFlow.
    whole = builders["tfrecord"].as_dataset(
        split="train",
        decoders={"image": tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(
            add_tfds_id=True, interleave_cycle_length=1
        ),
    )
    assert raw == [
        (
            e["label"],
            e["image"],
            e["tfds_id"].decode().replace("tfrecord", name),
        )
        for e in whole.as_numpy_iterator()
    ]
    for start in (1, 3, 5):
        labels = [e["label"] for e in train.open(start).as_numpy_iterator()]
        assert labels == [label for label, _, _ in raw[start:6]]


def test_records_that_are_skipped_are_not_parsed(tmp_path):
    builder = Numbered(data_dir=str(tmp_path))
    builder.download_and_prepare()
    examples = image_examples(ImageSource(builder, 0.4), "train", (1, 1), 3)
    labels = [e["label"] for e in examples.open().as_numpy_iterator()]
    (path,) = tmp_path.rglob("*.tfrecord*")
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in [b"no example", b"no example", *records[2:]]:
            writer.write(record)
    found = [e["label"] for e in examples.open(2).as_numpy_iterator()]
    assert found == labels[2:]
    with pytest.raises(tf.errors.InvalidArgumentError):
        list(examples.open(1))


def test_an_unknown_data_set_is_reported_with_the_nearest_name():
    with pytest.raises(UserError, match="emoji64"):
        open_source("emogi64")


def test_a_folder_without_its_prefix_is_pointed_out(tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path / "pictures"), "pictures", "./pictures/"):
        with pytest.raises(UserError) as caught:
            open_source(name)
        assert f"Did you mean --dataset=folder:{name}?" in str(caught.value)


def test_without_a_home_folder_data_dir_has_to_be_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        tfds.core.constants, "DATA_DIR", "~/tensorflow_datasets"
    )
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(UserError, match="--data_dir"):
        open_source("emoji64")
    assert not list(tmp_path.iterdir())


class Downloaded(tfds.core.GeneratorBasedBuilder):
    """A data set at an address that nobody answers."""

    VERSION = tfds.core.Version("1.0.0")
    url = ""

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 3))
        features = tfds.features.FeaturesDict({"image": image})
        return self.dataset_info_from_configs(features=features)

    def _split_generators(self, dl_manager):
        dl_manager.download(self.url)

    def _generate_examples(self):
        return iter(())


def test_a_data_set_that_cannot_be_downloaded_is_told_soon(
    tmp_path, monkeypatch
):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr(Downloaded, "url", f"http://127.0.0.1:{port}/a.zip")
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    source = open_source("downloaded", str(tmp_path))
    with pytest.raises(UserError, match="could not be prepared: .*127.0.0.1"):
        source.prepare()
    assert 0 < sum(waited) < 15


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    open_source("emoji64", str(folder)).prepare()
    return folder


@pytest.fixture
def shard(prepared, tmp_path):
    """A shard of a prepared data set of its own."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    (path,) = tmp_path.rglob("*train.tfrecord*")
    return path


def test_damaged_metadata_are_reported_with_what_to_remove(shard, tmp_path):
    (shard.parent / "dataset_info.json").write_text("{")
    with pytest.raises(UserError, match="is damaged .*; remove that folder"):
        open_source("emoji64", str(tmp_path))


def test_a_missing_shard_is_reported_with_what_to_remove(shard, tmp_path):
    shard.unlink()
    with pytest.raises(UserError, match="is missing; remove") as caught:
        open_source("emoji64", str(tmp_path)).prepare()
    assert f"remove {shard.parent}," in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "emptied", "changed"])
def test_a_damaged_shard_is_reported_with_what_to_remove(
    shard, tmp_path, damage
):
    data = shard.read_bytes()
    half = len(data) // 2
    shard.write_bytes(
        {
            "cut": data[:half],
            "emptied": b"",
            "changed": data[:half] + b"?" + data[half + 1 :],
        }[damage]
    )
    source = open_source("emoji64", str(tmp_path))
    source.prepare()
    with (
        pytest.raises(UserError, match="is damaged") as caught,
        source.damage_reported(),
    ):
        list(image_examples(source, "train", (8, 8), 3).open())
    assert f"{shard.parent} is damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_processes_prepare_one_data_set_once(tmp_path):
    script = (
        "import sys; from vqvae2_tf.data.source import open_source\n"
        f"source = open_source('emoji64', {str(tmp_path)!r})\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "source.prepare(); print(source.num_examples('train'))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    # Both have found it unprepared.
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    printed = [process.communicate()[0].split()[-1] for process in both]
    assert printed == ["1678", "1678"]


@pytest.mark.parametrize("dataset", ["emoji64", "mnist", "folder"])
def test_a_data_dir_that_tfds_cannot_read_is_refused(dataset, tmp_path):
    if dataset == "folder":
        (tmp_path / "images").mkdir()
        for name in ("a.png", "b.png"):
            (tmp_path / "images" / name).touch()
        dataset = f"folder:{tmp_path / 'images'}"
    for name in ("a*b", "what?"):
        folder = str(tmp_path / name)
        with pytest.raises(UserError, match="--data_dir.*TFDS") as caught:
            open_source(dataset, folder)
        assert folder in str(caught.value)

"""FFHQ out of images in the two published forms."""

import pathlib
import shutil
import tempfile
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from vqvae2_tf.data import ffhq
from vqvae2_tf.data.source import open_source
from vqvae2_tf.errors import UserError

# As published, but for the number of images.
NUM_TRAIN, NUM_IMAGES = 3, 5


def make_image(number):
    """`[1024, 1024, 3]` uint8, smooth, different in all channels."""
    draws = np.random.default_rng(number).integers(256, size=(4, 4, 3))
    small = Image.fromarray(draws.astype("uint8"))
    return np.asarray(small.resize((1024, 1024), Image.Resampling.BILINEAR))


def write_png_files(folder):
    for number in range(NUM_IMAGES):
        path = folder / f"images1024x1024/00000/{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(make_image(number)).save(path)


def record(pixels):
    """An example as StyleGAN's dataset tool writes them: CHW, uint8."""
    planes = pixels.transpose(2, 0, 1)
    features = {
        "shape": tf.train.Feature(
            int64_list=tf.train.Int64List(value=planes.shape)
        ),
        "data": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[planes.tobytes()])
        ),
    }
    return tf.train.Example(
        features=tf.train.Features(feature=features)
    ).SerializeToString()


def write_records(folder, side=1024):
    path = folder / "tfrecords" / "ffhq" / "ffhq-r10.tfrecords"
    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(NUM_IMAGES):
            writer.write(record(make_image(number)[:side]))
    return path


@pytest.fixture(autouse=True)
def few_images():
    with (
        mock.patch.object(ffhq, "NUM_IMAGES", NUM_IMAGES),
        mock.patch.object(ffhq, "NUM_TRAIN", NUM_TRAIN),
    ):
        yield


class BuilderTestCase(tfds.testing.DatasetBuilderTestCase):
    """TFDS's own checks, and the pixels, of one published form."""

    DATASET_CLASS = ffhq.Ffhq
    SPLITS = {"train": NUM_TRAIN, "validation": NUM_IMAGES - NUM_TRAIN}
    __test__ = False

    @classmethod
    def setUpClass(cls):
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        cls.write(pathlib.Path(cls.EXAMPLE_DIR))
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.EXAMPLE_DIR)

    def _assertAsDataset(self, builder):  # noqa: N802
        super()._assertAsDataset(builder)
        start = 0
        for split, count in self.SPLITS.items():
            expected = [make_image(start + i) for i in range(count)]
            examples = builder.as_dataset(split=split).as_numpy_iterator()
            found = [example["image"] for example in examples]
            for pixels in expected:
                assert any((pixels == other).all() for other in found)
            start += count


class PngFilesTest(BuilderTestCase):
    __test__ = True
    write = staticmethod(write_png_files)


class RecordsTest(BuilderTestCase):
    __test__ = True
    write = staticmethod(write_records)


def manual_dir(tmp_path):
    return tmp_path / "downloads" / "manual"


def prepare(tmp_path):
    source = open_source("ffhq", str(tmp_path))
    source.prepare()
    return source


def error_sentence(tmp_path):
    """The sentence that preparing the data set ends with."""
    with pytest.raises(UserError) as caught:
        prepare(tmp_path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_record_has_the_published_length(tmp_path):
    # 220,205,650,000 bytes for 70,000 images, says their download script.
    assert ffhq.RECORD_BYTES * 70_000 == 220_205_650_000
    path = write_records(tmp_path)
    assert path.stat().st_size == NUM_IMAGES * ffhq.RECORD_BYTES


def test_nothing_there_is_reported_with_both_places(tmp_path):
    sentence = error_sentence(tmp_path)
    for word in ("images1024x1024", "ffhq-r10.tfrecords", str(tmp_path)):
        assert word in sentence


def test_missing_files_are_named(tmp_path):
    write_png_files(manual_dir(tmp_path))
    for name in ("00001.png", "00004.png"):
        (manual_dir(tmp_path) / "images1024x1024/00000" / name).unlink()
    assert "lacks 00000/00001.png, 00000/00004.png;" in error_sentence(tmp_path)
    write_records(manual_dir(tmp_path))
    assert prepare(tmp_path).num_examples("validation") == 2


def test_what_a_sentence_does_not_hold_is_logged(tmp_path, monkeypatch):
    logged = []

    def log(text, *words):
        logged.append(text % words)

    monkeypatch.setattr(ffhq.logging, "warning", log)
    folder = manual_dir(tmp_path) / "images1024x1024"
    for parent, numbers in (("00000", range(7, 1000)), ("01000", [1003])):
        (folder / parent).mkdir(parents=True)
        for number in numbers:
            (folder / parent / f"{number:05d}.png").touch()
    monkeypatch.setattr(ffhq, "NUM_IMAGES", 3000)
    with pytest.raises(UserError, match=r"00004.png and 2001 more;"):
        ffhq.find_images(str(manual_dir(tmp_path)))
    (text,) = logged
    lines = text.splitlines()
    assert lines[:3] == ["missing:", "00000/00000.png", "00000/00001.png"]
    assert lines[7:9] == ["00000/00006.png", "01000/01000.png"]
    assert lines[-2:] == ["01000/01999.png", "02000/*"]


def test_all_damaged_files_are_named_at_once(tmp_path):
    write_png_files(manual_dir(tmp_path))
    folder = manual_dir(tmp_path) / "images1024x1024/00000"
    whole = (folder / "00000.png").read_bytes()
    (folder / "00000.png").write_bytes(whole[: len(whole) // 2])
    (folder / "00002.png").write_bytes(b"<html>Quota exceeded</html>")
    (folder / "00003.png").write_bytes(b"")
    Image.new("RGB", (1024, 1000)).save(folder / "00004.png")
    names = [f"00000/0000{i}.png" for i in (0, 2, 3, 4)]
    assert f"get {', '.join(names)} again" in error_sentence(tmp_path)


def test_half_a_record_file_is_reported(tmp_path):
    path = write_records(manual_dir(tmp_path))
    with open(path, "rb+") as file:
        file.truncate(2 * ffhq.RECORD_BYTES)
    sentence = error_sentence(tmp_path)
    assert "expected 15,728,975 bytes" in sentence
    assert "found 6,291,590" in sentence


def test_records_of_another_size_are_reported(tmp_path):
    path = write_records(manual_dir(tmp_path), side=512)
    with mock.patch.object(
        ffhq, "RECORD_BYTES", path.stat().st_size // NUM_IMAGES
    ):
        assert "(3, 512, 1024)" in error_sentence(tmp_path)


def test_cloud_paths_are_read(tmp_path):
    # TensorFlow's ram:// goes where gs:// does: through tf.io.gfile.
    write_png_files(tmp_path)
    write_records(tmp_path)
    for path in tmp_path.rglob("*.*"):
        copy = f"ram://ffhq/{path.relative_to(tmp_path)}"
        tf.io.gfile.makedirs(copy.rpartition("/")[0])
        tf.io.gfile.copy(str(path), copy)
    assert ffhq.find_images("ram://ffhq") == ffhq.PNG_FOLDER
    read = ffhq._read_records(f"ram://ffhq/{ffhq.RECORDS}", 1, 3)
    for number, pixels in enumerate(read, 1):
        np.testing.assert_array_equal(pixels, make_image(number))
    tf.io.gfile.remove("ram://ffhq/images1024x1024/00000/00004.png")
    assert ffhq.find_images("ram://ffhq") == ffhq.RECORDS

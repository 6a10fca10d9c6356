"""FFHQ at 1024x1024 from its published files: PNG files or TFRecords."""

import itertools
import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from vqvae2_tf.data.decoding import check_images
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import shorten
from vqvae2_tf.files.atomic import read_bytes

NUM_IMAGES = 70_000
NUM_TRAIN = 60_000
SIZE = 1024
HOMEPAGE = "https://github.com/NVlabs/ffhq-dataset"
PNG_FOLDER = "images1024x1024"
RECORDS = "tfrecords/ffhq/ffhq-r10.tfrecords"
# All records of the published file have this length.
RECORD_BYTES = 3_145_795


def find_images(manual_dir: str) -> str:
    """Finds the published form that is complete, PNG files first.

    Args:
        manual_dir: Path of TFDS's manual directory; local or in a cloud.

    Returns:
        `PNG_FOLDER` or `RECORDS`.

    Raises:
        UserError: If neither is complete; names what is missing.
    """
    folder = os.path.join(manual_dir, PNG_FOLDER)
    records = os.path.join(manual_dir, RECORDS)
    missing = _missing_files(folder)
    if not missing:
        return PNG_FOLDER
    if tf.io.gfile.exists(records):
        length = tf.io.gfile.stat(records).length
        expected = NUM_IMAGES * RECORD_BYTES
        if length == expected:
            return RECORDS
        problem = (
            f"expected {expected:,} bytes in {records}, found {length:,}; get "
            "it again"
        )
    elif len(missing) < NUM_IMAGES:
        _log_all("missing", missing)
        problem = f"{folder} lacks {shorten(missing)}; get what is missing"
    else:
        problem = (
            f"found neither {folder} nor {records}; name the folder of the "
            "prepared data set with --data_dir, or get either of them"
        )
    raise UserError(f"--dataset=ffhq: {problem} from {HOMEPAGE}.")


def _file_names(start, stop):
    return [f"{i // 1000 * 1000:05d}/{i:05d}.png" for i in range(start, stop)]


def _log_all(what, names):
    """Logs all names if they are too many for a sentence; folders as one."""
    if len(names) > 5:
        lines = []
        for folder, group in itertools.groupby(names, os.path.dirname):
            own = list(group)
            lines += [f"{folder}/*"] if len(own) == 1000 else own
        logging.warning("%s:\n%s", what, "\n".join(lines))


def _missing_files(folder):
    """Names of the images that are not below the PNG folder."""
    existing = set()
    for parent in range(0, NUM_IMAGES, 1000):
        path = os.path.join(folder, f"{parent:05d}")
        if tf.io.gfile.isdir(path):
            names = tf.io.gfile.listdir(path)
            existing.update(f"{parent:05d}/{name}" for name in names)
    return [name for name in _file_names(0, NUM_IMAGES) if name not in existing]


class Ffhq(tfds.core.GeneratorBasedBuilder):
    """Flickr-Faces-HQ, 70,000 portraits; the first 60,000 are for training.

    Reads, below the manual directory, `images1024x1024/00000/00000.png` to
    `69000/69999.png`, or `tfrecords/ffhq/ffhq-r10.tfrecords`, the finest of
    the files published for StyleGAN. Splits `train` and `validation`, by file
    number. Records hold no number, so their position is used. Nobody has
    confirmed it for the published file: if that was shuffled, its splits have
    the same sizes but other images. Examples have `image` `[1024, 1024, 3]`
    uint8.

    Preparing it raises `UserError` that names missing files and damaged PNG
    files.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Get {PNG_FOLDER} or {RECORDS} of FFHQ ({HOMEPAGE}) and put it, with "
        "its folders, into the manual directory."
    )

    def _info(self):
        features = {"image": tfds.features.Image(shape=(SIZE, SIZE, 3))}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            homepage=HOMEPAGE,
        )

    def _split_generators(self, dl_manager):
        manual_dir = os.fspath(dl_manager.manual_dir)
        form = find_images(manual_dir)
        path, read = os.path.join(manual_dir, form), _read_records
        if form == PNG_FOLDER:
            _check_files(path)
            read = _read_files
        generate = self._generate_examples
        return {
            "train": generate(read, path, 0, NUM_TRAIN),
            "validation": generate(read, path, NUM_TRAIN, NUM_IMAGES),
        }

    def _generate_examples(self, read, path, start, stop):
        for number, image in enumerate(read(path, start, stop), start):
            yield number, {"image": image}


def _check_files(folder):
    """Decodes all PNG files. Raises `UserError` that names damaged ones."""

    def is_sound(name):
        data = read_bytes(os.path.join(folder, name))
        try:
            # The decoder of the training: not all refuse the same files.
            return tf.io.decode_png(data).shape == (SIZE, SIZE, 3)
        except tf.errors.InvalidArgumentError:
            return False

    checked = check_images(is_sound, _file_names(0, NUM_IMAGES))
    damaged = [name for name, sound in checked.items() if not sound]
    if damaged:
        _log_all("damaged", damaged)
        raise UserError(
            f"--dataset=ffhq: expected PNG files of {SIZE}x{SIZE} pixels in "
            f"{folder}; get {shorten(damaged)} again from {HOMEPAGE}."
        )


def _read_files(folder, start, stop):
    """The contents of each file in [start, stop)."""
    for name in _file_names(start, stop):
        yield read_bytes(os.path.join(folder, name))


def _read_records(path, start, stop):
    """`[1024, 1024, 3]` uint8 of each record in [start, stop)."""
    # Skipped records are read too, which costs little beside the encoding.
    records = tf.data.TFRecordDataset(path).skip(start).take(stop - start)
    for record in records.as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        shape = tuple(features["shape"].int64_list.value)
        if shape != (3, SIZE, SIZE):
            raise UserError(
                f"--dataset=ffhq: expected images of (3, {SIZE}, {SIZE}) "
                f"bytes in {path}, found {shape}."
            )
        (data,) = features["data"].bytes_list.value
        planes = np.frombuffer(data, "uint8").reshape(shape)
        yield np.ascontiguousarray(planes.transpose(1, 2, 0))

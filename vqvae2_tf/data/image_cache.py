"""Decoded and scaled images on disk, so that each is decoded once."""

import contextlib
import functools
import hashlib
import itertools
import os
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

import tensorflow as tf
from tqdm import tqdm

from vqvae2_tf.data import augmentation
from vqvae2_tf.data import batches
from vqvae2_tf.data.source import ImageSource
from vqvae2_tf.errors import UserError
from vqvae2_tf.files import atomic
from vqvae2_tf.files.lock import lock

# To be raised when decoding, scaling or the files' form change.
_VERSION = 1


def folder_of(
    source: ImageSource,
    image_size: tuple[int, int],
    channels: int,
    augment: Sequence[str] = (),
) -> str:
    """Folder of the images of `train`, in the data directory.

    Its name depends on all that the images depend on: the prepared data set,
    and the size that they have for the augmentation.

    Args:
        source: A prepared source.
        image_size: As for `image_examples`.
        channels: As for `image_examples`.
        augment: As for `image_examples`.
    """
    room = batches.room(augment)
    data = source.fingerprint("train")
    settings = (_VERSION, data, tuple(image_size), channels, room)
    name = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]
    return os.path.join(source.data_dir, "cached_images", name)


def cached_examples(
    source: ImageSource,
    image_size: tuple[int, int],
    channels: int,
    augment: Sequence[str] = (),
    augmenter: str = "tf_image",
) -> batches.Examples:
    """What `image_examples` gives for `train`, read from decoded images.

    Shards that are not on disk are written first. Pixels are rounded to 8 bits
    before the augmentation. A whole image is not to be had from one with the
    room that crops need, so that these examples are for training alone.

    Args:
        source: A prepared source.
        image_size: As for `image_examples`.
        channels: As for `image_examples`.
        augment: As for `image_examples`.
        augmenter: As for `image_examples`.
    """
    folder = folder_of(source, image_size, channels, augment)
    lengths = source.shard_lengths("train")
    paths = [
        os.path.join(folder, f"{i:05d}-of-{len(lengths):05d}.tfrecord")
        for i in range(len(lengths))
    ]
    raw = batches.Examples(
        functools.partial(source.open_part, "train"), lengths, None
    )

    def scaled(example):
        image = batches.decode(example["image"], channels)
        image = batches.cover(image, image_size, batches.room(augment))
        return tf.cast(tf.round(image * 255), tf.uint8), example["label"]

    with lock(folder, wait=True):
        _write_missing(paths, raw, scaled)
    operations = augmentation.operations_of(augmenter)
    features = {
        "pixels": tf.io.FixedLenFeature((), tf.string),
        "shape": tf.io.FixedLenFeature((2,), tf.int64),
        "label": tf.io.FixedLenFeature((), tf.int64),
    }

    def open_part(shard, first, count):
        records = tf.data.TFRecordDataset(tf.constant(paths)[shard])
        return records.skip(first).take(count)

    def read(record, seed=None):
        if seed is None:
            raise ValueError("Cached images are for training alone.")
        example = tf.io.parse_single_example(record, features)
        image = tf.io.decode_raw(example["pixels"], tf.uint8)
        shape = tf.concat([example["shape"], [channels]], axis=0)
        image = tf.ensure_shape(
            tf.reshape(image, shape), (None, None, channels)
        )
        image = tf.cast(image, tf.float32) / 255.0
        image = augmentation.augment(
            image, image_size, augment, seed, operations
        )
        label = tf.cast(example["label"], tf.int32)
        return {"image": image * 2 - 1, "label": label}

    return batches.Examples(open_part, lengths, read)


@contextlib.contextmanager
def damage_reported(folder: str) -> Iterator[None]:
    """Turns TensorFlow's errors at damaged shards into a `UserError`."""
    try:
        yield
    # The second one where a shard has too few images.
    except (
        tf.errors.DataLossError,
        tf.errors.FailedPreconditionError,
    ) as error:
        raise UserError(
            f"the cached images in {folder}, or the data set that they are of, "
            "are damaged; remove that folder, so that they are read again."
        ) from error


def _write_missing(paths, raw, scaled):
    """Writes the shards that do not exist, each whole or not at all."""
    start = 0
    both = zip(paths, raw.shard_lengths, strict=True)
    # Neighbours at once, which opens the images once for all of them.
    for done, run in itertools.groupby(
        both, lambda x: tf.io.gfile.exists(x[0])
    ):
        neighbours = list(run)
        if not done:
            images = raw.open(start).map(
                scaled, num_parallel_calls=tf.data.AUTOTUNE
            )
            images = images.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()
            images = iter(tqdm(images, "decoding", raw.count, initial=start))
            for path, length in neighbours:
                _write_shard(path, itertools.islice(images, length))
        start += sum(length for _, length in neighbours)


def _write_shard(path: str, images: Iterable) -> None:
    with (
        atomic.replacing(path, by_any=True) as new,
        tf.io.TFRecordWriter(new) as writer,
    ):
        for image, label in images:
            example = tf.train.Example()
            feature = example.features.feature
            feature["pixels"].bytes_list.value.append(image.tobytes())
            feature["shape"].int64_list.value.extend(image.shape[:2])
            feature["label"].int64_list.value.append(int(label))
            writer.write(example.SerializeToString())

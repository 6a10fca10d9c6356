"""Batches as a function of (seed, step), so that a run can resume."""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from vqvae2_tf.data import augmentation
from vqvae2_tf.data import order
from vqvae2_tf.data.shards import Shards
from vqvae2_tf.data.source import ImageSource


@dataclasses.dataclass(frozen=True)
class Examples(Shards):
    """A finite set of raw examples in shards, and how to read one.

    See `training.loop.Examples` for what training asks of it.

    Args:
        open_part: As for `Shards`.
        shard_lengths: As for `Shards`.
        read: Function from a raw example to a dict of tensors. For training it
            also takes a `[2]` int64 seed, a different one for every example
            drawn; without one nothing is random.
        shuffled: Largest number of raw examples in a shuffle window; see
            `order.shuffled`. (2,048 encoded images of 1024x1024 take some 3
            GB.)
        readers: Number of equal parts that training reads side by side, each
            shuffled by itself in windows that are smaller by as much. Each
            gives the same number of rows of every batch.
    """

    read: Callable
    shuffled: int = 2048
    readers: int = 1

    def first(self, count: int) -> "Examples":
        """The first `count` of the examples, or all if there are fewer."""
        return self.part(0, count)

    def part(self, start: int, stop: int) -> "Examples":
        """The examples from number `start` up to before `stop`."""
        before = np.cumsum([0, *self.shard_lengths[:-1]])
        skipped = np.clip(start - before, 0, self.shard_lengths)
        lengths = np.clip(stop - before, 0, self.shard_lengths) - skipped

        def open_part(shard, first, count):
            first += tf.constant(skipped, tf.int64)[shard]
            return self.open_part(shard, first, count)

        return dataclasses.replace(
            self, open_part=open_part, shard_lengths=lengths.tolist()
        )

    def open(self, start: int = 0) -> tf.data.Dataset:
        """The raw examples from number `start` on, in order.

        Shards before that are not opened, and nothing is read ahead.
        """
        return self.row(start, self.count)

    def training_arrays(
        self,
        batch_size: int,
        seed: int,
        start_step: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> Iterator[dict[str, Any]]:
        """What `training_batches` gives, as NumPy arrays."""
        context = _context(share)
        batches = training_batches(self, batch_size, seed, start_step, context)
        return iter(batches.as_numpy_iterator())

    def evaluation_arrays(
        self, batch_size: int, share: tuple[int, int] = (0, 1)
    ) -> Iterator[dict[str, Any]]:
        """What `evaluation_batches` gives, as NumPy arrays."""
        batches = evaluation_batches(self, batch_size, _context(share))
        return iter(batches.as_numpy_iterator())


def _context(share):
    """The context of the i-th of n hosts, each with one device."""
    return tf.distribute.InputContext(share[1], share[0], share[1])


def image_examples(
    source: ImageSource,
    split: str,
    image_size: tuple[int, int],
    channels: int,
    augment: Sequence[str] = (),
    augmenter: str = "tf_image",
) -> Examples:
    """Examples of an `ImageSource`.

    Args:
        source: A prepared source.
        split: `train` or `validation`.
        image_size: `(height, width)`; images are scaled to cover it and
            cropped.
        channels: 1 or 3.
        augment: Some of `augmentation_names.NAMES`, applied in training.
        augmenter: One of `augmentation_names.AUGMENTERS`, which applies them.

    Returns:
        `Examples` of dicts with `image` `[*image_size, channels]` float32 in
        [-1, 1] and `label` int32.
    """
    operations = augmentation.operations_of(augmenter)

    def read(example, seed=None):
        names = () if seed is None else augment
        image = decode(example["image"], channels)
        image = cover(image, image_size, room(names))
        image = augmentation.augment(image, image_size, names, seed, operations)
        return {"image": image * 2 - 1, "label": example["label"]}

    lengths = source.shard_lengths(split)
    return Examples(partial(source.open_part, split), lengths, read)


def with_ids(examples: Examples) -> Examples:
    """Adds the data set's `id` of each image, a scalar string.

    Devices such as TPUs cannot hold strings, which stay on the host.

    Args:
        examples: What `image_examples` returned.
    """

    def read(example, seed=None):
        return {**examples.read(example, seed), "id": example["id"]}

    return dataclasses.replace(examples, read=read)


# An encoded PNG file with an alpha channel, or with a transparent colour.
_PNG_WITH_ALPHA = r"\CPNG\C{21}[\x04\x06]\C*|\CPNG\C*tRNS\C*"
# Files that TensorFlow decodes to grey levels itself.
_PNG_OR_JPEG = r"\CPNG\C*|\xFF\xD8\C*"


def decode(data: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes to `[h, w, channels]` in [0, 1]; PNG's alpha is put on white.

    As `decoding.decode_image`, but TensorFlow's decoders run in parallel. GIF's
    transparent pixels stay black.
    """

    def decoded(channels):
        image = tf.io.decode_image(data, channels, expand_animations=False)
        image.set_shape((None, None, channels))
        return tf.cast(image, tf.float32) / 255.0

    def opaque():
        if channels != 1:
            return decoded(channels)
        return tf.cond(
            tf.strings.regex_full_match(start, _PNG_OR_JPEG),
            lambda: decoded(1),
            lambda: tf.image.rgb_to_grayscale(decoded(3)),
        )

    def on_white():
        image = tf.cast(tf.io.decode_png(data, 4), tf.float32) / 255.0
        colours, alpha = image[..., :3], image[..., 3:]
        image = alpha * colours + 1 - alpha
        return tf.image.rgb_to_grayscale(image) if channels == 1 else image

    # What tells of transparency comes before the pixels, but after a colour
    # profile.
    start = tf.strings.substr(data, 0, 2**20)
    has_alpha = tf.strings.regex_full_match(start, _PNG_WITH_ALPHA)
    return tf.cond(has_alpha, on_white, opaque)


def room(augment: Sequence[str]) -> float:
    """How much larger images are than their crops; see `CROP_ROOM`."""
    return augmentation.CROP_ROOM if "crop" in augment else 1.0


def cover(
    image: tf.Tensor, size: tuple[int, int], room: float = 1.0
) -> tf.Tensor:
    """Scales `[h, w, C]` in [0, 1] to cover `size`.

    `room` times as large as need be, but not larger than it is for that.
    """
    shape = tf.cast(tf.shape(image)[:2], tf.float64)
    scale = tf.reduce_max(tf.constant(size, tf.float64) / shape)
    scale = tf.maximum(scale, tf.minimum(room * scale, 1.0))
    new_size = tf.maximum(tf.cast(tf.round(shape * scale), tf.int32), size)

    def resized():
        scaled = tf.image.resize(image, new_size, "lanczos3", antialias=True)
        return tf.clip_by_value(scaled, 0.0, 1.0)

    return tf.cond(scale == 1.0, lambda: image, resized)


def training_batches(
    examples: Examples,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Endless shuffled batches; batch s is a function of (seed, s).

    Their order is that of `order.shuffled`, for each of the examples' readers.
    A batch may hold examples of two epochs, so that all batches are full.

    Args:
        examples: `Examples`; their `readers` divide the batch size.
        batch_size: Batch size over all hosts and replicas.
        seed: int.
        start_step: Number of the first batch.
        context: `tf.distribute.InputContext` of this host, which then decodes
            its rows of every batch, split for its replicas; None for one
            device. Batches are the same on any number of hosts. A host reads
            what the readers of its rows read, decoded or not: with one reader
            the encoded examples of all hosts.

    Returns:
        `tf.data.Dataset` of batched `examples.read`.
    """
    own = _own_rows(batch_size, context)
    rows = batch_size // examples.readers
    # Of each of the host's rows of a batch.
    readers = [row // rows for row in own]
    datasets = [
        _read_by(reader, examples, batch_size, own, seed, start_step)
        for reader in range(readers[0], readers[-1] + 1)
    ]
    dataset = datasets[0]
    if len(datasets) > 1:
        choice = tf.constant(np.subtract(readers, readers[0]), tf.int64)
        choice = tf.data.Dataset.from_tensor_slices(choice).repeat()
        dataset = tf.data.Dataset.choose_from_datasets(datasets, choice)

    def read(position, example):
        example_seed = tf.stack([tf.cast(seed, tf.int64), position])
        return examples.read(example, example_seed)

    return _batched(dataset, read, batch_size, context)


def _read_by(reader, examples, batch_size, own, seed, start_step):
    """A reader's raw examples in `own` rows, after their positions.

    An example's position is its row, counted through all batches.
    """
    count, readers = examples.count, examples.readers
    rows = batch_size // readers
    first = start_step * rows
    part = examples.part(
        reader * count // readers, (reader + 1) * count // readers
    )
    window = max(examples.shuffled // readers, 1)
    # Raw up to here, so that skipping costs no decoding.
    dataset = order.shuffled(part, window, seed + reader, first)
    dataset = tf.data.Dataset.zip(tf.data.Dataset.counter(first), dataset)

    def place(number, example):
        row = reader * rows + number % rows
        return number // rows * batch_size + row, example

    dataset = dataset.map(place)
    is_shared = reader * rows < own.start or (reader + 1) * rows > own.stop
    return _only(own, dataset, batch_size) if is_shared else dataset


def evaluation_batches(
    examples: Examples,
    batch_size: int,
    context: tf.distribute.InputContext | None = None,
    start: int = 0,
    augmentation_seed: int | None = None,
) -> tf.data.Dataset:
    """Examples once, from `start` on and in order, in full batches.

    The last batch is filled up with examples of `weight` 0.

    Args:
        examples: `Examples`.
        batch_size: Batch size over all hosts and replicas.
        context: As for `training_batches`.
        start: Number of the first example.
        augmentation_seed: If not None, examples are augmented as in training,
            by this seed and their numbers.

    Returns:
        `tf.data.Dataset` of batched `examples.read`, with `weight` `[B]`
        float32 added.
    """
    missing = (start - examples.count) % batch_size
    padding = examples.open().take(1).repeat(missing)
    dataset = examples.open(start).concatenate(padding)

    def read(number, example):
        seed = augmentation_seed
        if seed is not None:
            seed = tf.stack([tf.cast(seed, tf.int64), number])
        weight = tf.cast(number < examples.count, tf.float32)
        return {**examples.read(example, seed), "weight": weight}

    dataset = tf.data.Dataset.zip(tf.data.Dataset.counter(start), dataset)
    own = _own_rows(batch_size, context)
    if len(own) < batch_size:
        dataset = _only(own, dataset, batch_size, start)
    return _batched(dataset, read, batch_size, context)


def _own_rows(batch_size, context):
    """A host's rows of every batch: neighbours, as replicas have."""
    if context is None:
        return range(batch_size)
    rows = batch_size // context.num_input_pipelines
    first = rows * context.input_pipeline_id
    return range(first, first + rows)


def _only(own, dataset, batch_size, start=0):
    """The numbered examples in some rows of batches that begin at `start`."""

    def is_own(number, example):
        row = (number - start) % batch_size
        return (row >= own.start) & (row < own.stop)

    return dataset.filter(is_own)


def _batched(dataset, read, batch_size, context):
    """Batches of `read(number, example)`, for a host's rows."""
    if context is not None:
        # A strategy takes one dataset a host, of one batch a replica.
        batch_size = context.get_per_replica_batch_size(batch_size)
    dataset = dataset.map(read, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    return dataset.prefetch(tf.data.AUTOTUNE)

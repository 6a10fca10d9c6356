"""Batches that are a function of (seed, step), so that a run can resume."""

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence

import tensorflow as tf

from vqvae2_tf.data import augmentation
from vqvae2_tf.data.source import ImageSource


@dataclasses.dataclass(frozen=True)
class Examples:
    """A finite set of examples and how one becomes a training example.

    Args:
        open: Opens the examples, raw and always in the same order, as a
            `tf.data.Dataset`.
        count: Number of examples.
        read: Turns a raw example into a dict of tensors for evaluation.
        read_for_training: The same for training: also takes a `[2]` int64
            seed, unlike for every example drawn.
        shuffled: Number of raw examples that are held to shuffle them. (2,048
            encoded pictures of 1024x1024 are some 3 GB.)
    """

    open: Callable[[], tf.data.Dataset]
    count: int
    read: Callable
    read_for_training: Callable
    shuffled: int = 2048


def image_examples(
    source: ImageSource,
    split: str,
    image_size: tuple[int, int],
    channels: int,
    augment: Sequence[str] = (),
    augmenter: str = "tf_image",
) -> Examples:
    """Examples out of a `ImageSource`.

    Args:
        source: The source, prepared.
        split: `train` or `validation`.
        image_size: `(height, width)`; pictures are scaled to cover it and
            cropped.
        channels: 1 or 3.
        augment: Names of `augmentation.NAMES`, applied in training.
        augmenter: One of `augmentation.AUGMENTERS`, which applies them.

    Returns:
        `Examples` of dicts with `image` `[*image_size, channels]` float32 in
        [-1, 1] and `label` int32.
    """

    operations = augmentation.operations_of(augmenter)

    def covered(example):
        image = tf.io.decode_image(
            example["image"], channels, expand_animations=False
        )
        image.set_shape((None, None, channels))
        image = tf.cast(image, tf.float32) / 255.0
        return _cover(image, image_size)

    def result(example, image):
        return {
            "image": tf.ensure_shape(image, (*image_size, channels)) * 2 - 1,
            "label": example["label"],
        }

    def read(example):
        image = augmentation.center_crop(covered(example), image_size)
        return result(example, image)

    def read_for_training(example, seed):
        image = augmentation.augment(
            covered(example), image_size, augment, seed, operations
        )
        return result(example, image)

    return Examples(
        lambda: source.examples(split),
        source.num_examples(split),
        read,
        read_for_training,
    )


def with_ids(examples: Examples) -> Examples:
    """Pictures with their data set's `id`, a scalar string, beside them.

    Strings are for hosts: devices such as TPUs cannot hold them.

    Args:
        examples: What `image_examples` gave.
    """
    return dataclasses.replace(
        examples,
        read=lambda example: {**examples.read(example), "id": example["id"]},
        read_for_training=lambda example, seed: {
            **examples.read_for_training(example, seed),
            "id": example["id"],
        },
    )


def _cover(image, size):
    """Scales `[h, w, C]` in [0, 1] to just cover `size`, unless it does."""
    shape = tf.cast(tf.shape(image)[:2], tf.float64)
    wanted = tf.constant(size, tf.float64)
    scale = tf.reduce_max(wanted / shape)
    new_size = tf.maximum(
        tf.cast(tf.round(shape * scale), tf.int32), tf.constant(size)
    )

    def resized():
        scaled = tf.image.resize(
            image, new_size, tf.image.ResizeMethod.LANCZOS3, antialias=True
        )
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

    Each epoch is shuffled anew, in a window of `examples.shuffled`. Examples
    run on over the epochs' borders, so that all batches are full.

    Args:
        examples: `Examples`.
        batch_size: Over all hosts and replicas.
        seed: int.
        start_step: Number of the first batch.
        context: `tf.distribute.InputContext` of this host, which then takes its
            share of every batch, split for its replicas; None for one device.

    Returns:
        `tf.data.Dataset` of batched `examples.read_for_training`.
    """
    first = start_step * batch_size
    start_epoch, skipped = divmod(first, examples.count)

    def shuffled(epoch):
        # Of this function's graph alone: the order must not depend on the
        # process's global seed, which `shuffle` mixes in.
        tf.random.set_seed(1)
        return examples.open().shuffle(
            min(examples.count, examples.shuffled),
            seed=epoch * 1_000_003 + seed,
            reshuffle_each_iteration=False,
        )

    # Read raw and in order up to here, so that skipping costs no decoding.
    dataset = tf.data.Dataset.range(start_epoch, tf.int64.max)
    dataset = dataset.flat_map(shuffled).skip(skipped)
    dataset = tf.data.Dataset.zip(tf.data.Dataset.counter(start=first), dataset)
    dataset, replica_batch_size = _share(dataset, batch_size, context)

    def read(position, example):
        example_seed = tf.stack([tf.cast(seed, tf.int64), position])
        return examples.read_for_training(example, example_seed)

    dataset = dataset.map(read, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(replica_batch_size, drop_remainder=True)
    return dataset.prefetch(tf.data.AUTOTUNE)


def evaluation_batches(
    examples: Examples,
    batch_size: int,
    context: tf.distribute.InputContext | None = None,
    start: int = 0,
    stop: int | None = None,
    augmentation_seed: int | None = None,
) -> tf.data.Dataset:
    """Examples once, in order, in full batches.

    The last batch is filled up with examples of `weight` 0.

    Args:
        examples: `Examples`.
        batch_size: Over all hosts and replicas.
        context: As for `training_batches`.
        start: Number of the first example.
        stop: Number of the example after the last; None for all.
        augmentation_seed: If given, examples are augmented as in training, by
            this seed and their numbers.

    Returns:
        `tf.data.Dataset` of batched `examples.read`, with `weight` `[B]`
        float32 beside it.
    """
    count = (examples.count if stop is None else stop) - start
    numbers = tf.data.Dataset.counter(start=start)
    dataset = examples.open().skip(start).take(count)
    weighted = tf.data.Dataset.zip(numbers, dataset).map(
        lambda number, example: (number, example, 1.0)
    )
    padding = -count % batch_size
    if padding:
        filling = examples.open().take(1).repeat(padding)
        weighted = weighted.concatenate(
            filling.map(
                lambda example: (tf.constant(0, tf.int64), example, 0.0)
            )
        )
    weighted, replica_batch_size = _share(weighted, batch_size, context)

    def read(number, example, weight):
        if augmentation_seed is None:
            return {**examples.read(example), "weight": weight}
        seed = tf.stack([tf.constant(augmentation_seed, tf.int64), number])
        return {**examples.read_for_training(example, seed), "weight": weight}

    weighted = weighted.map(read, num_parallel_calls=tf.data.AUTOTUNE)
    weighted = weighted.batch(replica_batch_size, drop_remainder=True)
    return weighted.prefetch(tf.data.AUTOTUNE)


def _share(dataset, batch_size, context):
    if context is None:
        return dataset, batch_size
    # A strategy takes one dataset a host, of one batch a replica.
    return (
        dataset.shard(context.num_input_pipelines, context.input_pipeline_id),
        context.get_per_replica_batch_size(batch_size),
    )

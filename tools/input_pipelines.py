"""Data sets of generated images, and how fast each stage reads them."""

import io
import os
import statistics
import time
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from vqvae2_tf.data import batches
from vqvae2_tf.data import image_cache
from vqvae2_tf.data import order
from vqvae2_tf.data.source import ImageSource
from vqvae2_tf.data.source import open_source

STAGES = ("read", "decode", "resize", "augment", "batch")
# Seconds that are timed at once.
_STRETCH = 3.0
# Different images of a data set, each of which is repeated.
_DISTINCT = 16


class Generated(tfds.core.GeneratorBasedBuilder):
    """A data set whose shards `write` writes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(num_classes=1000),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {}

    def _generate_examples(self):
        return iter(())


def write(folder: str, images: Sequence[bytes], shards: int, length: int):
    """Writes a data set as TFDS does, and opens it.

    Args:
        folder: Where it is written.
        images: Encoded images, repeated in turn.
        shards: Number of shards.
        length: Examples of each shard.

    Returns:
        `ImageSource`, one example held out.
    """
    builder = Generated(data_dir=folder)
    path = str(builder.data_dir)
    tf.io.gfile.makedirs(path)
    serialize = builder.info.features.serialize_example
    records = [
        serialize({"image": io.BytesIO(data), "label": 0}) for data in images
    ]
    template = tfds.core.ShardedFileTemplate(
        data_dir=path,
        dataset_name=builder.name,
        split="train",
        filetype_suffix="tfrecord",
    )
    for shard in range(shards):
        file = template.sharded_filepath(shard_index=shard, num_shards=shards)
        with tf.io.TFRecordWriter(os.fspath(file)) as writer:
            for i in range(length):
                writer.write(records[i % len(records)])
    split = tfds.core.SplitInfo(
        name="train",
        shard_lengths=[length] * shards,
        num_bytes=0,
        filename_template=template,
    )
    builder.info.set_splits(tfds.core.SplitDict([split]))
    builder.info.write_to_directory(path)
    return ImageSource(Generated(data_dir=folder), validation_share=0.0)


def photographs(
    count: int, size: tuple[int, int], grain: float, **options
) -> Iterator[bytes]:
    """Files that take about as many bytes as photographs do.

    Args:
        count: Number of images.
        size: `(width, height)`.
        grain: Standard deviation of each pixel's own noise, of 255 values.
        **options: Of `PIL.Image.Image.save`.
    """
    for seed in range(count):
        draw = np.random.default_rng(seed)
        pixels = 128 + draw.normal(0, grain, (size[1], size[0], 3))
        # Each octave twice as coarse and as strong.
        for octave in range(2, 9):
            shape = (2**octave, 2**octave)
            for channel in range(3):
                coarse = draw.normal(0, 200 / 2**octave, shape)
                image = Image.fromarray(coarse.astype("float32"))
                fine = image.resize(size, Image.Resampling.BICUBIC)
                pixels[..., channel] += np.asarray(fine)
        file = io.BytesIO()
        image = Image.fromarray(pixels.clip(0, 255).astype("uint8"))
        image.save(file, **options)
        yield file.getvalue()


def make_ffhq(folder, config):
    """PNG files of 1024x1024; FFHQ's have 1.3 MB on average."""
    images = photographs(_DISTINCT, (1024, 1024), 0.7, format="PNG")
    return write(folder, list(images), 2, 32)


def make_imagenet(folder, config):
    """JPEG files of 500x375; ImageNet's have 110 KB on average."""
    images = photographs(_DISTINCT, (500, 375), 12.0, format="JPEG", quality=95)
    return write(folder, list(images), 4, 128)


def make_folder(folder, config):
    """A folder of JPEG files of 1024x768, as `--dataset=folder` has them."""
    images = photographs(48, (1024, 768), 4.0, format="JPEG", quality=90)
    path = os.path.join(folder, "images")
    os.makedirs(path)
    for number, data in enumerate(images):
        with open(os.path.join(path, f"{number}.jpg"), "wb") as file:
            file.write(data)
    source = open_source(
        f"folder:{path}", folder, config.image_size, config.channels
    )
    source.prepare()
    return source


SOURCES = {"ffhq": make_ffhq, "imagenet": make_imagenet, "folder": make_folder}


def stage_speeds(source: ImageSource, config, batch_size: int) -> dict:
    """How fast a pipeline is up to each stage, and what each costs.

    Args:
        source: `ImageSource`.
        config: `Configuration`.
        batch_size: Images of a batch.

    Returns:
        `<stage>_images_per_s` of the pipeline up to each of `STAGES`,
        `<stage>_cpu_ms`, what the stage alone adds to the time that an image
        takes of all cores, `slowest_stage`, which adds most, and
        `bytes_per_image`, of the encoded ones. Of images as `--cache_images`
        keeps them `cached_images_per_s` of batches, `cached_cpu_ms`, what an
        image takes in all, and `caching_images_per_s`, of the first time.
    """
    size, channels = config.image_size, config.channels
    examples = batches.image_examples(
        source, "train", size, channels, config.augment, config.augmenter
    )
    room = batches.room(config.augment)

    def decode(raw):
        return batches.decode(raw["image"], channels)

    def resize(raw):
        return batches.cover(decode(raw), size, room)

    def augment(raw):
        return examples.read(raw, tf.constant([0, 1], tf.int64))

    raw = order.shuffled(examples, examples.shuffled, 0)
    encoded = [len(x["image"]) for x in raw.take(64).as_numpy_iterator()]
    counts = dict.fromkeys(STAGES, 1) | {"batch": batch_size}
    datasets = {"read": raw}
    for stage, function in zip(
        STAGES[1:], (decode, resize, augment), strict=False
    ):
        mapped = raw.map(function, num_parallel_calls=tf.data.AUTOTUNE)
        # Decoded images are large.
        datasets[stage] = mapped.prefetch(2)
    datasets["batch"] = batches.training_batches(examples, batch_size, 0)
    times = [_times(datasets[s], counts[s], config.repeats) for s in STAGES]
    wall, cpu = np.transpose(times)
    own = 1000 * np.diff(cpu, prepend=0.0)
    start = time.perf_counter()
    cached = image_cache.cached_examples(
        source, size, channels, config.augment, config.augmenter
    )
    caching = time.perf_counter() - start
    cached_wall, cached_cpu = _times(
        batches.training_batches(cached, batch_size, 0),
        batch_size,
        config.repeats,
    )
    return {
        "bytes_per_image": statistics.mean(encoded),
        **{
            f"{s}_images_per_s": 1 / t
            for s, t in zip(STAGES, wall, strict=True)
        },
        **{f"{s}_cpu_ms": t for s, t in zip(STAGES, own, strict=True)},
        "slowest_stage": STAGES[int(np.argmax(own))],
        "cached_images_per_s": 1 / cached_wall,
        "cached_cpu_ms": 1000 * cached_cpu,
        "caching_images_per_s": cached.count / caching,
    }


def _times(dataset, count, repeats):
    """Seconds that an image takes, and those of all cores; the medians."""
    iterator = iter(dataset)
    stretches = []
    # In the first stretch graphs are made and buffers filled.
    for _ in range(repeats + 1):
        start, cpu, images = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - start < _STRETCH:
            next(iterator)
            images += count
        wall = time.perf_counter() - start
        stretches.append((wall / images, (time.process_time() - cpu) / images))
    return np.median(stretches[1:], axis=0)


def resumed(source: ImageSource, share: float, batch_size: int) -> dict:
    """Seconds and bytes to the first batch at a share of an epoch.

    Bytes are of all files that the process has read, cached ones too.
    """
    start, before = time.perf_counter(), _bytes_read()
    cpu = time.process_time()
    examples = batches.image_examples(source, "train", (8, 8), 3)
    step = int(share * examples.count / batch_size)
    # Kept, as what is read ahead delays its end.
    iterator = iter(batches.training_batches(examples, batch_size, 0, step))
    next(iterator)
    return {
        "examples": examples.count,
        "shards": len(examples.shard_lengths),
        "resume_s": time.perf_counter() - start,
        "resume_cpu_s": time.process_time() - cpu,
        "resume_read_mb": (_bytes_read() - before) / 1e6,
    }


def _bytes_read() -> int:
    """Bytes that this process has read from files, cached ones too."""
    with open("/proc/self/io", encoding="ascii") as file:
        return int(file.readline().split()[1])

"""Batches are a function of (seed, step)."""

import importlib.util
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.helpers import one_shard
from vqvae2_tf.data import augmentation_names
from vqvae2_tf.data.batches import Examples
from vqvae2_tf.data.batches import decode
from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.batches import image_examples
from vqvae2_tf.data.batches import training_batches


def numbers(count):
    """Examples that are their own index."""

    def read(x, seed=None):
        return {"index": x, **({} if seed is None else {"seed": seed})}

    dataset = tf.data.Dataset.range(count)
    return Examples(one_shard(lambda: dataset), [count], read)


def take(steps, **kwargs):
    kwargs = {"batch_size": 4, "seed": 0, **kwargs}
    batches = training_batches(numbers(10), **kwargs).take(steps)
    return [
        {name: value.numpy() for name, value in batch.items()}
        for batch in batches
    ]


def test_every_epoch_has_every_example_once_in_another_order():
    order = np.concatenate([batch["index"] for batch in take(15)])
    epochs = order.reshape(6, 10)
    assert (np.sort(epochs, axis=1) == np.arange(10)).all()
    assert len(np.unique(epochs, axis=0)) == 6


@pytest.mark.parametrize("count", [3, 10, 12])
def test_the_first_examples(count):
    first = numbers(10).first(count)
    batches = list(evaluation_batches(first, 4))
    index, weight = (
        np.concatenate([batch[name] for batch in batches])
        for name in ("index", "weight")
    )
    assert first.count == min(count, 10)
    np.testing.assert_array_equal(index[weight > 0], np.arange(first.count))


@pytest.mark.parametrize("start", [1, 2, 3, 7])
@pytest.mark.parametrize("global_seed", [0, 5])
def test_batches_resume_anywhere(start, global_seed):
    expected = take(9)
    tf.random.set_seed(global_seed)
    for one, other in zip(
        take(9 - start, start_step=start), expected[start:], strict=True
    ):
        np.testing.assert_array_equal(one["index"], other["index"])
        np.testing.assert_array_equal(one["seed"], other["seed"])


def test_another_seed_is_another_order():
    one = np.concatenate([batch["index"] for batch in take(5)])
    other = np.concatenate([batch["index"] for batch in take(5, seed=1)])
    assert (one != other).any()


def test_every_draw_has_its_own_seed():
    seeds = np.concatenate([batch["seed"] for batch in take(15)])
    assert len(np.unique(seeds, axis=0)) == 60


@pytest.mark.parametrize("hosts", [1, 2])
def test_hosts_have_neighbouring_rows_of_the_same_batches(hosts):
    shares = [
        take(5, context=tf.distribute.InputContext(hosts, host, hosts))
        for host in range(hosts)
    ]
    for step, whole in enumerate(take(5)):
        together = np.concatenate([share[step]["index"] for share in shares])
        np.testing.assert_array_equal(together, whole["index"])


@pytest.mark.parametrize("hosts", [1, 2])
def test_evaluation_weighs_each_example_once(hosts):
    total = np.zeros(10)
    lengths = set()
    for host in range(hosts):
        context = tf.distribute.InputContext(hosts, host, hosts)
        batches = list(evaluation_batches(numbers(10), 4, context))
        lengths.add(len(batches))
        for batch in batches:
            assert batch["index"].shape == (4 // hosts,)
            np.add.at(total, batch["index"].numpy(), batch["weight"].numpy())
    assert (total == 1).all()
    assert lengths == {3}


@pytest.mark.parametrize("start", [0, 3, 9])
def test_evaluation_may_start_anywhere_with_the_same_seeds(start):
    batches = list(evaluation_batches(numbers(10), 4, None, start, 7))
    index, seeds, weights = (
        np.concatenate([batch[name] for batch in batches])
        for name in ("index", "seed", "weight")
    )
    expected = np.arange(start, 10)
    np.testing.assert_array_equal(index[weights > 0], expected)
    expected = np.stack([np.full(10 - start, 7), expected], axis=1)
    np.testing.assert_array_equal(seeds[weights > 0], expected)


class Images:
    """A source of a few images of noise."""

    def __init__(self):
        draws = np.random.default_rng(0).integers(256, size=(10, 12, 14, 3))
        self.files = [
            tf.io.encode_png(pixels).numpy() for pixels in draws.astype("uint8")
        ]

    def shard_lengths(self, split):
        return [len(self.files)]

    def open_part(self, split, shard, first, count):
        dataset = tf.data.Dataset.from_tensor_slices(
            {
                "image": self.files,
                "label": [0] * len(self.files),
                "id": [f"number {i}" for i in range(len(self.files))],
            }
        )
        return dataset.skip(first).take(count)


@pytest.mark.parametrize("augmenter", augmentation_names.AUGMENTERS)
def test_augmented_images_are_a_function_of_seed_and_step(augmenter):
    if augmenter == "keras_cv" and not importlib.util.find_spec("keras_cv"):
        pytest.skip("keras-cv is not installed")

    def images(threads, start_step, global_seed):
        tf.random.set_seed(global_seed)
        examples = image_examples(
            Images(), "train", (8, 8), 3, augmentation_names.NAMES, augmenter
        )
        batches = training_batches(examples, 4, 0, start_step)
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        batches = batches.with_options(options).take(8 - start_step)
        return np.stack([batch["image"] for batch in batches])

    whole = images(threads=1, start_step=0, global_seed=0)
    resumed = images(threads=8, start_step=3, global_seed=1)
    np.testing.assert_array_equal(resumed, whole[3:])
    # The third epoch's draws are not the first's.
    assert len(np.unique(whole.reshape(32, -1), axis=0)) == 32


class Ramp:
    """A source of one image whose colours are its pixels' coordinates."""

    def __init__(self, height, width):
        y, x = np.mgrid[:height, :width] / [[[height]], [[width]]]
        pixels = np.stack([y, x, 0 * x], axis=-1)
        self.png = tf.io.encode_png((255 * pixels).astype("uint8"))

    def shard_lengths(self, split):
        return [1]

    def open_part(self, split, shard, first, count):
        example = {"image": self.png, "label": 0, "id": ""}
        return tf.data.Dataset.from_tensors(example)


@pytest.mark.parametrize(
    ("shape", "seen"),
    [
        # Room along both axes, and along the longer one besides.
        ((64, 64), (8 / 9, 8 / 9)),
        ((64, 128), (8 / 9, 4 / 9)),
        # No more than the pixels there are.
        ((17, 17), (16 / 17, 16 / 17)),
        ((16, 16), (1, 1)),
    ],
)
def test_crops_move_along_both_axes(shape, seen):
    examples = image_examples(Ramp(*shape), "train", (16, 16), 3, ["crop"])
    (raw,) = examples.open()
    crops = [examples.read(raw, np.int64([0, i]))["image"] for i in range(20)]
    crops = (np.stack(crops) + 1) / 2
    for axis, share in enumerate(seen):
        values = crops[..., axis].mean(axis=2 - axis)
        # 15 of 16 pixels from the first to the last one.
        spans = (values[:, -1] - values[:, 0]) * 16 / 15
        np.testing.assert_allclose(spans, share, atol=0.03)
        assert (np.ptp(values[:, 0]) > 0.02) == (share < 1)
    # Held-out images show as much as they can.
    whole = (examples.read(raw)["image"].numpy() + 1) / 2
    assert np.ptp(whole[..., 0]) > 0.85


@pytest.mark.parametrize("file_format", ["GIF", "BMP", "WEBP", "PNG", "JPEG"])
def test_files_of_data_sets_are_decoded_to_grey_levels(file_format):
    draws = np.random.default_rng(0).integers(256, size=(2, 2, 3))
    colours = np.repeat(np.repeat(draws, 8, 0), 8, 1).astype("uint8")
    file = io.BytesIO()
    Image.fromarray(colours).save(file, file_format)
    coloured = decode(file.getvalue(), 3).numpy()
    grey = decode(file.getvalue(), 1).numpy()
    assert grey.shape == (16, 16, 1)
    expected = coloured @ np.array([[0.299], [0.587], [0.114]])
    np.testing.assert_allclose(grey, expected, atol=0.01)

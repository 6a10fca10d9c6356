"""Batches are a function of (seed, step)."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from vqvae2_tf.data import augmentation
from vqvae2_tf.data.batches import Examples
from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.batches import image_examples
from vqvae2_tf.data.batches import training_batches


def numbers(count):
    """Examples that are their own index."""
    return Examples(
        lambda: tf.data.Dataset.range(count),
        count,
        lambda x: {"index": x},
        lambda x, seed: {"index": x, "seed": seed},
    )


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
def test_hosts_share_every_batch(hosts):
    shares = [
        take(5, context=tf.distribute.InputContext(hosts, host, hosts))
        for host in range(hosts)
    ]
    for step, whole in enumerate(take(5)):
        together = np.concatenate([share[step]["index"] for share in shares])
        assert sorted(together) == sorted(whole["index"])


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


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (3, 8), (9, 10)])
def test_a_range_is_what_the_whole_has_there(start, stop):
    def rows(*bounds):
        batches = evaluation_batches(numbers(10), 4, None, *bounds, 7)
        whole = [
            np.concatenate([batch[name] for batch in batches])
            for name in ("index", "seed", "weight")
        ]
        return [values[whole[2] > 0] for values in whole]

    index, seeds, _ = rows(start, stop)
    np.testing.assert_array_equal(index, np.arange(start, stop))
    expected = np.stack([np.full(stop - start, 7), index], axis=1)
    np.testing.assert_array_equal(seeds, expected)


class Images:
    """A source of a few images of noise."""

    def __init__(self):
        draws = np.random.default_rng(0).integers(256, size=(10, 12, 14, 3))
        self.files = [
            tf.io.encode_png(pixels).numpy() for pixels in draws.astype("uint8")
        ]

    def num_examples(self, split):
        return len(self.files)

    def examples(self, split):
        return tf.data.Dataset.from_tensor_slices(
            {
                "image": self.files,
                "label": [0] * len(self.files),
                "id": [f"number {i}" for i in range(len(self.files))],
            }
        )


@pytest.mark.parametrize("augmenter", augmentation.AUGMENTERS)
def test_augmented_images_are_a_function_of_seed_and_step(augmenter):
    if augmenter == "keras_cv" and not importlib.util.find_spec("keras_cv"):
        pytest.skip("keras-cv is not installed")

    def images(threads, start_step, global_seed):
        tf.random.set_seed(global_seed)
        examples = image_examples(
            Images(), "train", (8, 8), 3, augmentation.NAMES, augmenter
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

"""Sampling in parts, against sampling at once."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import array
from tests.helpers import make_prior
from vqvae2_tf.export.compiled_sampler import compile_sampler
from vqvae2_tf.sampling import sample


@pytest.mark.parametrize(("size", "num_parts"), [(7, 3), (2, 5), (4, 1)])
def test_parts_are_drawn_in_order_and_evenly(size, num_parts):
    sizes = []

    def draw(batch, factor):
        sizes.append(len(batch["a"]))
        return {"sum": batch["a"] * factor + batch["b"][:, 0]}

    a, b = np.arange(size), 10 * np.arange(2 * size).reshape(size, 2)
    drawn = compile_sampler(draw, num_parts)(
        {"a": tf.constant(a), "b": tf.constant(b)}, tf.constant(3, tf.int64)
    )
    np.testing.assert_array_equal(drawn["sum"], 3 * a + b[:, 0])
    # Traced once a size; sizes differ by one at most.
    assert len(sizes) == len(set(sizes))
    assert max(sizes) == -(-size // min(num_parts, size))
    assert max(sizes) - min(sizes) <= 1


def test_an_empty_batch_is_refused():
    draw = compile_sampler(lambda batch: batch, 2)
    with pytest.raises(ValueError, match="`batch`: .* at least one"):
        draw(tf.zeros((0, 2)))


def test_codes_are_those_of_the_whole_batch():
    prior = make_prior([(3, 4)], 6, num_classes=3)
    labels = np.array([2, 0, 1, 1, 0], "int32")
    expected = sample(prior, labels=labels, seed=4)

    def draw(batch):
        labels, ids = batch
        return sample(prior, labels=labels, seed=4, sample_ids=ids)

    found = compile_sampler(draw, 2)((tf.constant(labels), tf.range(5)))
    np.testing.assert_array_equal(found, array(expected))

"""Batches of arrays are a function of (seed, step)."""

import itertools

import numpy as np
import pytest

from vqvae2_tf.data.arrays import ArrayExamples

EXAMPLES = ArrayExamples({"x": np.arange(10), "pair": (np.arange(10) * 2,)})


def take(steps, seed=0, start_step=0):
    batches = EXAMPLES.training_arrays(4, seed, start_step)
    return [batch["x"] for batch in itertools.islice(batches, steps)]


def test_every_epoch_has_every_example_once_in_another_order():
    epochs = np.concatenate(take(15)).reshape(6, 10)
    assert (np.sort(epochs, axis=1) == np.arange(10)).all()
    assert len(np.unique(epochs, axis=0)) == 6
    assert not np.array_equal(take(5), take(5, seed=1))


@pytest.mark.parametrize("start", [1, 2, 3, 7])
def test_batches_resume_anywhere(start):
    resumed = take(9 - start, start_step=start)
    np.testing.assert_array_equal(resumed, take(9)[start:])


def test_evaluation_has_every_example_once():
    batches = list(EXAMPLES.evaluation_arrays(4))
    assert [len(batch["x"]) for batch in batches] == [4, 4, 4]
    x, weight = (
        np.concatenate([batch[name] for batch in batches])
        for name in ("x", "weight")
    )
    np.testing.assert_array_equal(x[weight > 0], np.arange(10))
    assert EXAMPLES.count == 10
    for batch in batches:
        np.testing.assert_array_equal(batch["pair"][0], 2 * batch["x"])

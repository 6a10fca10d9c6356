"""Dropout drops what it is asked to, in every dtype."""

import keras
import numpy as np
import pytest

from tests.helpers import array
from vqvae2_tf.layers.dropout import dropout

pytestmark = pytest.mark.any_backend


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_the_share_and_the_scale_are_those_of_the_rate(dtype, rate):
    ones = keras.ops.ones((1000, 1000), dtype)
    dropped = dropout(ones, rate, keras.random.SeedGenerator(1))
    assert keras.backend.standardize_dtype(dropped.dtype) == dtype
    values = array(keras.ops.cast(dropped, "float32"))
    # Four standard deviations of a million draws.
    deviation = 4 * np.sqrt(rate * (1 - rate)) / 1000
    assert np.mean(values == 0) == pytest.approx(rate, abs=deviation)
    kept = values[values != 0]
    np.testing.assert_allclose(kept, 1 / (1 - rate), rtol=2**-8)
    assert len(np.unique(kept)) == 1


def test_the_seed_determines_the_mask():
    ones = keras.ops.ones((100,))
    first, same, other = (array(dropout(ones, 0.5, s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert np.any(first != other)

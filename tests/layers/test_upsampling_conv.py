"""Tests of `UpsamplingConv` against Keras' transposed convolution."""

import keras
import numpy as np
import pytest

from tests.helpers import array
from tests.helpers import assert_close
from tests.helpers import build
from tests.helpers import check_bfloat16
from tests.helpers import check_compiled
from tests.helpers import gradient
from tests.helpers import normal
from tests.helpers import upsampling_kernel
from vqvae2_tf.layers import UpsamplingConv

pytestmark = pytest.mark.any_backend


def both(filters, x):
    """A layer, and Keras' with three tenths of the dots in its filter."""
    layer = build(UpsamplingConv(filters), x)
    reference = keras.layers.Conv2DTranspose(filters, 4, 2, padding="same")
    reference.build(x.shape)
    reference.set_weights([upsampling_kernel(layer), array(layer.bias)])
    return layer, reference


@pytest.mark.parametrize("filters", [1, 3, 7, 8])
class TestEqualsConv2DTranspose:
    def test_outputs(self, filters):
        x = normal(2, 3, 5, 4)
        layer, reference = both(filters, x)
        expected = array(reference(x))
        assert_close(array(layer(x)), expected)
        assert_close(array(layer(x, training=True)), expected)

    def test_gradient_of_the_input(self, filters):
        x = normal(2, 3, 5, 4)
        actual, expected = (
            gradient(lambda x, f=f: keras.ops.sum(f(x) ** 2), x)
            for f in both(filters, x)
        )
        assert_close(actual, expected, 1e-4, 1e-4)


@pytest.mark.parametrize("filters", [3, 8])
def test_dots_of_a_flat_input_move_less(filters):
    x = np.ones((1, 5, 5, 4), "float32")
    layer, _ = both(filters, x)

    def dots(kernel):
        layer.kernel.assign(kernel)
        inner = array(layer(x))[0, 2:-2, 2:-2]
        phases = [
            inner[i::2, j::2].mean((0, 1)) for i in (0, 1) for j in (0, 1)
        ]
        return np.array(phases) - np.mean(phases, axis=0)

    kernel = array(layer.kernel)
    before = dots(kernel)
    # Rows 1 and 3 are the even outputs' taps, of which 4 inputs are read.
    moved = kernel.copy()
    moved[1::2, 1::2] += 1.0
    change = dots(moved) - before
    expected = 0.3 * 16.0 * np.array([0.75, -0.25, -0.25, -0.25])
    assert_close(change, np.tile(expected[:, None], filters), 1e-3, 1e-3)


@pytest.mark.parametrize("filters", [3, 8])
class TestModes:
    def test_compiled_equals_eager(self, filters):
        check_compiled(UpsamplingConv(filters), normal(2, 3, 5, 4))

    def test_bfloat16_is_close(self, filters):
        def make(**policy):
            return UpsamplingConv(filters, **policy)

        check_bfloat16(make, normal(2, 3, 5, 4))

    def test_is_made_from_its_config(self, filters):
        config = UpsamplingConv(filters, name="up").get_config()
        layer = UpsamplingConv.from_config(config)
        assert (layer.filters, layer.name) == (filters, "up")

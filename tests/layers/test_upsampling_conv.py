"""Tests of `UpsamplingConv`: Keras' transposed convolution by other means."""

import keras
import pytest

from tests.helpers import array
from tests.helpers import assert_close
from tests.helpers import build
from tests.helpers import check_bfloat16
from tests.helpers import check_compiled
from tests.helpers import gradient
from tests.helpers import normal
from tests.helpers import weight_gradients
from vqvae2_tf.layers import UpsamplingConv

pytestmark = pytest.mark.any_backend


def both(filters, x):
    layer = build(UpsamplingConv(filters), x)
    reference = keras.layers.Conv2DTranspose(filters, 4, 2, padding="same")
    reference.build(x.shape)
    reference.set_weights(layer.get_weights())
    return layer, reference


@pytest.mark.parametrize("filters", [1, 3, 7, 8])
class TestEqualsConv2DTranspose:
    def test_outputs(self, filters):
        x = normal(2, 3, 5, 4)
        layer, reference = both(filters, x)
        assert_close(array(layer(x)), array(reference(x)))

    def test_gradients(self, filters):
        x = normal(2, 3, 5, 4)
        actual, expected = (
            [
                gradient(lambda x, f=f: keras.ops.sum(f(x) ** 2), x),
                *weight_gradients(
                    lambda f=f: keras.ops.sum(f(x) ** 2), f.trainable_weights
                ),
            ]
            for f in both(filters, x)
        )
        assert_close(actual, expected, 1e-4, 1e-4)


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

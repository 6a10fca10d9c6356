"""Keras' layers, and gradients of biases that are added up exactly."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import array
from tests.helpers import assert_close
from tests.helpers import build
from tests.helpers import compiled_gradients
from tests.helpers import normal
from vqvae2_tf import layers

pytestmark = pytest.mark.any_backend

LAYERS = {
    "Conv2D": (3, 3, 2, "same"),
    "Conv2DTranspose": (3, 2, 2),
    "Dense": (3,),
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_are_those_of_keras(name, training):
    x = normal(2, 6, 4, 5)
    layer = build(getattr(layers, name)(*LAYERS[name]), x)
    reference = build(getattr(keras.layers, name)(*LAYERS[name]), x)
    layer.bias.assign(normal(3))
    reference.set_weights(layer.get_weights())
    assert_close(array(layer(x, training=training)), array(reference(x)))


@pytest.mark.parametrize("name", [*LAYERS, "UpsamplingConv"])
def test_a_biass_gradient_is_exact_in_bfloat16(name):
    # Weights of a sum, in bfloat16: all have one sign.
    x = normal(2, 64, 64, 1)
    arguments = LAYERS.get(name, (3,))
    layer = getattr(layers, name)(*arguments, dtype="mixed_bfloat16")
    layer = build(layer, x)
    shape = tuple(layer(x).shape)
    weights = 0.01 + 0.02 * np.random.default_rng(0).random(shape)
    weights = ops.cast(weights, "bfloat16")

    def loss():
        y = layer(x, training=True)
        return ops.sum(ops.cast(y * weights, "float32"))

    (gradient,) = compiled_gradients(loss, [layer.bias])()
    exact = array(ops.cast(weights, "float32")).astype("float64")
    expected = exact.sum(axis=(0, 1, 2))
    np.testing.assert_allclose(array(gradient), expected, rtol=0.01)

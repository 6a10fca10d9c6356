"""The fingerprint of weights is the same on every backend."""

import keras
import numpy as np
import pytest

from vqvae2_tf.codes.extraction import fingerprint

pytestmark = pytest.mark.any_backend


def test_it_is_the_same_on_every_backend():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.set_weights([np.arange(6.0).reshape(2, 3), np.ones(3)])
    assert fingerprint(model) == "94039f413e324fe3"

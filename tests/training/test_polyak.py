"""Polyak averages, against NumPy."""

import keras
import numpy as np
import tensorflow as tf

from vqvae2_tf.training.polyak import PolyakAverage


def test_averages_follow_the_warmed_up_decay():
    variable = keras.Variable(np.float32([1.0, 2.0]))
    polyak = PolyakAverage([variable], 0.6)
    expected = np.array([1.0, 2.0])
    for step in range(12):
        value = np.array([np.sin(step), step])
        variable.assign(value.astype("float32"))
        polyak.update(tf.constant(step))
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    np.testing.assert_allclose(polyak.averages[0], expected, rtol=1e-5)


def test_averages_are_in_the_model_for_a_block_only():
    variable = keras.Variable(1.0)
    polyak = PolyakAverage([variable], 0.9)
    variable.assign(5.0)
    with polyak.in_model():
        assert float(variable.value) == 1.0
    assert float(variable.value) == 5.0
    polyak.assign_to_model()
    assert float(variable.value) == 1.0

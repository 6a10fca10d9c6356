"""Moving averages of weights, against NumPy."""

import keras
import numpy as np
import pytest

from tests.helpers import array
from vqvae2_tf.training.averages import Averages

pytestmark = pytest.mark.any_backend


def test_averages_follow_the_warmed_up_decay_to_the_last_bit():
    variable = keras.Variable(np.float32([1.0, 2.0]), name="weight")
    averages = Averages([variable], 0.6)
    one, ten = np.float32(1.0), np.float32(10.0)
    expected = np.float32([1.0, 2.0])
    for step in range(12):
        value = np.float32([np.sin(step), step])
        variable.assign(value)
        averages.update(keras.ops.convert_to_tensor(step))
        step = np.float32(step)
        decay = np.minimum(np.float32(0.6), (one + step) / (ten + step))
        expected = expected - (one - decay) * (expected - value)
    (average,) = averages.variables
    assert (average.name, average.trainable) == ("weight", False)
    np.testing.assert_array_equal(array(average), expected)
    np.testing.assert_array_equal(array(variable), value)


def test_averages_are_in_the_weights_for_a_block_only():
    variable = keras.Variable(1.0)
    averages = Averages([variable], 0.9)
    variable.assign(5.0)
    with pytest.raises(KeyError), averages.in_weights():
        assert float(variable.value) == 1.0
        raise KeyError
    assert float(variable.value) == 5.0
    averages.assign_to_weights()
    assert float(variable.value) == 1.0

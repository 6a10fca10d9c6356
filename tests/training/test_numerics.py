"""The first operation whose result is not finite is named."""

import keras
import pytest
import tensorflow as tf

from tests.training import small
from vqvae2_tf.errors import UserError
from vqvae2_tf.training import numerics

pytestmark = pytest.mark.any_backend


@pytest.fixture(autouse=True)
def switched_off_after():
    yield
    tf.debugging.disable_check_numerics()


@pytest.mark.large
def test_the_first_operation_that_overflows_is_named():
    # The first step makes all weights huge, and the second one uses them.
    trainer = small.make_trainer("autoencoder", rate=1e30, check_numerics=True)
    convolution = "Conv2D"
    if keras.backend.backend() == "jax":
        convolution = "conv_general_dilated"
    with pytest.raises(UserError, match="--check_numerics: ") as error:
        trainer.run(2)
    assert f": {convolution} is the first" in str(error.value)
    assert "layers/encoder.py:" in str(error.value)


@pytest.mark.large
@pytest.mark.parametrize("name", ["autoencoder", "prior"])
def test_sound_training_is_the_same_with_checks(name):
    one, other = (
        small.make_trainer(name, check_numerics=checked).run(2)[0]
        for checked in (True, False)
    )
    assert one == pytest.approx(other, rel=1e-6)


def test_calls_within_libraries_are_not_named():
    message = (
        '!!! Detected Infinity or NaN in output 0 of graph op "Log" (# of '
        "outputs: 1) !!! + /lib/keras/ops.py (L3) log"
    )
    assert str(numerics.from_tensorflow(message)).endswith("in a library")

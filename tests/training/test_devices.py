"""The backend's devices are found in one place."""

import keras
import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.training.devices import open_devices

pytestmark = pytest.mark.any_backend


def test_one_device_of_the_backend_is_found():
    devices = open_devices("one")
    assert devices.count == 1
    name = type(devices).__name__.removesuffix("Devices").lower()
    assert name == keras.backend.backend()


@pytest.mark.parametrize("name", ["mirrored", "tpu"])
def test_missing_devices_are_told(name, monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(UserError, match=f"--strategy={name}") as caught:
        open_devices(name)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="TensorFlow has both"
)
def test_what_only_tensorflow_has_is_told():
    with pytest.raises(UserError, match="--tpu=local is for TensorFlow"):
        open_devices("auto", "local")


def test_a_backend_that_does_not_train_is_told(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(UserError, match="KERAS_BACKEND=torch: .*tensorflow"):
        open_devices("one")

"""Missing devices are reported in one sentence."""

import pytest
import tensorflow as tf

from vqvae2_tf.errors import UserError
from vqvae2_tf.training.strategy import make_strategy


@pytest.mark.parametrize("name", ["auto", "one"])
def test_one_device_where_there_is_no_more(name, monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    strategy = make_strategy(name)
    assert isinstance(strategy, tf.distribute.OneDeviceStrategy)


@pytest.mark.parametrize("name", ["mirrored", "tpu"])
def test_missing_devices_are_told(name, monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(UserError, match=f"--strategy={name}") as caught:
        make_strategy(name)
    assert "\n" not in str(caught.value)

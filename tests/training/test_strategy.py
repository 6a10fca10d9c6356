"""Missing devices are reported in one sentence."""

import socket

import pytest
import tensorflow as tf

from vqvae2_tf.errors import UserError
from vqvae2_tf.training import strategy
from vqvae2_tf.training.strategy import make_strategy


@pytest.mark.parametrize("name", ["auto", "one"])
def test_one_device_where_there_is_no_more(name, monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    made = make_strategy(name)
    assert isinstance(made, tf.distribute.OneDeviceStrategy)


@pytest.mark.parametrize("name", ["mirrored", "tpu"])
def test_missing_devices_are_told(name, monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(UserError, match=f"--strategy={name}") as caught:
        make_strategy(name)
    assert "\n" not in str(caught.value)


@pytest.fixture
def closed():
    """An address that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"127.0.0.1:{port}"


@pytest.fixture
def silent(monkeypatch):
    """An address that accepts connections and never answers."""
    monkeypatch.setattr(strategy, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def assert_no_tpu(name, tpu, monkeypatch):
    monkeypatch.setenv("TPU_NAME", tpu)
    before = socket.getdefaulttimeout()
    with pytest.raises(UserError, match=f"--strategy={name} .*={tpu}, ") as end:
        make_strategy(name)
    assert "\n" not in str(end.value)
    assert socket.getdefaulttimeout() == before


@pytest.mark.parametrize("name", ["auto", "tpu"])
def test_a_tpu_that_cannot_be_found_is_told_soon(name, closed, monkeypatch):
    # Where Google's machines ask for their project.
    monkeypatch.setenv("GCE_METADATA_HOST", closed)
    assert_no_tpu(name, "nonexistent", monkeypatch)
    assert_no_tpu(name, f"grpc://{closed}", monkeypatch)


def test_a_service_that_does_not_answer_is_told_soon(silent, monkeypatch):
    monkeypatch.setenv("GCE_METADATA_HOST", silent)
    assert_no_tpu("tpu", "nonexistent", monkeypatch)

"""Strategies, and missing devices, which are reported in one sentence."""

import json
import os
import socket
import subprocess
import sys

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


TWO_IN_TURN = """
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
# As if they were GPUs.
cpus = tf.config.list_logical_devices("CPU")
tf.config.list_logical_devices = lambda kind: cpus

from vqvae2_tf.training.strategy import make_strategy

# As two networks in turn, with gradients of different shapes.
for name, size in (("mirrored", 2), ("auto", 3)):
    strategy = make_strategy(name)
    assert strategy.num_replicas_in_sync == 2

    @tf.function
    def total(size=size):
        context = tf.distribute.get_replica_context()
        return context.all_reduce("sum", tf.ones(size))

    results = strategy.run(total).values
    assert [r.numpy().tolist() for r in results] == [[2.0] * size] * 2
"""


def test_two_networks_in_turn_are_trained_on_two_devices():
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    environment.pop("TPU_NAME", None)
    result = subprocess.run(
        [sys.executable, "-c", TWO_IN_TURN],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]


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
    told = f"--strategy={name} .*--tpu={tpu}, "
    with pytest.raises(UserError, match=told) as end:
        make_strategy(name)
    assert "\n" not in str(end.value)
    monkeypatch.setenv("TPU_NAME", "another")
    with pytest.raises(UserError, match=told):
        make_strategy(name, tpu)
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


@pytest.mark.parametrize("name", ["one", "mirrored", "multi_worker"])
def test_a_tpu_that_is_not_used_is_told(name):
    told = f"--tpu=local .*--strategy={name}"
    with pytest.raises(UserError, match=told):
        make_strategy(name, "local")


def config(workers=("a:1", "b:2"), kind="worker", index=0, **cluster):
    cluster = {"worker": workers, **cluster}
    task = {"type": kind, "index": index}
    return json.dumps({"cluster": cluster, "task": task})


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "{}",
        json.dumps({"cluster": {"worker": ["a:1"]}}),
        config(index=2),
        config(index=None),
        config(kind="evaluator"),
        config(workers=("a:1", "b")),
        config(workers=("a:1", "http://b:2")),
        config(workers=("a:1", "a:1")),
        config(workers=("a:1", "b:65536")),
        config(workers=("a:1", "b:0")),
        config(workers=3),
    ],
)
def test_a_wrong_tf_config_is_told(text, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    told = "--strategy=multi_worker: .*TF_CONFIG .*Received: "
    with pytest.raises(UserError, match=told) as end:
        make_strategy("multi_worker")
    assert "\n" not in str(end.value)


# What TensorFlow said when a worker was killed, shortened.
LOST = "Collective ops is aborted by: "
OF_THE_CHIEF = LOST + (
    "Error reported from /job:worker/task:1: The following tasks are unhealthy "
    "(stopped sending heartbeats):\n/job:worker/replica:0/task:2\nThe tasks "
    "have crashed."
)
OF_A_PEER = LOST + (
    "recvmsg:Connection reset by peer\nAdditional GRPC error information from "
    "remote target /job:chief/replica:0/task:0 while calling "
)


@pytest.mark.parametrize(
    ("message", "address"),
    [
        (OF_THE_CHIEF, "the worker c:3"),
        (OF_A_PEER, "the worker d:4"),
        (f"{LOST}Cancelled", "a worker"),
    ],
)
def test_a_lost_worker_is_told(message, address, monkeypatch):
    text = config(["a:1", "b:2", "c:3"], chief=["d:4"])
    monkeypatch.setenv("TF_CONFIG", text)
    monkeypatch.setattr(strategy, "is_of_several_hosts", lambda _: True)
    with (
        pytest.raises(UserError, match=f"^{address} of TF_CONFIG") as end,
        strategy.loss_reported(None),
    ):
        raise tf.errors.UnavailableError(None, None, message)
    assert "\n" not in str(end.value)


def test_other_errors_are_not_of_a_worker():
    one = tf.distribute.get_strategy()
    with pytest.raises(tf.errors.UnavailableError), strategy.loss_reported(one):
        raise tf.errors.UnavailableError(None, None, LOST)

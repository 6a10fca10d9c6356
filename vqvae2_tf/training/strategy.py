"""The devices that a run uses."""

import contextlib
import functools
import os
import re
import socket
import urllib.parse
from collections.abc import Iterator

import tensorflow as tf

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.errors import shorten
from vqvae2_tf.files import atomic
from vqvae2_tf.training.interruption import ended_by_signals
from vqvae2_tf.training.workers import read_workers
from vqvae2_tf.training.workers import tell_waiting

# Seconds to wait for an answer of a TPU, or of the service that knows TPUs.
_PATIENCE = 10.0


def make_strategy(name: str, tpu: str | None = None) -> tf.distribute.Strategy:
    """Makes a `tf.distribute` strategy, whose chief writes all files.

    Args:
        name: `one`: one device, a GPU if there is one; `mirrored`: all GPUs of
            this host; `multi_worker`: all devices of the hosts that TF_CONFIG
            lists; waits for them; `tpu`: a TPU; `auto`: `tpu` if one is named,
            `mirrored` with two or more GPUs, else `one`.
        tpu: Name or grpc:// address of the TPU, or `local` for this machine's;
            by default what TPU_NAME has, or `local`.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        UserError: If there is no such device, or TF_CONFIG is missing or
            wrong, or a TPU is named that `name` has no use for.
    """
    if tpu and name not in ("auto", "tpu"):
        raise UserError(f"--tpu={tpu} is not used with --strategy={name}.")
    strategy = _make_strategy(name, tpu or os.environ.get("TPU_NAME"))
    atomic.is_chief = strategy.extended.should_checkpoint
    return strategy


def _make_strategy(name, tpu):
    if name == "tpu" or (name == "auto" and tpu):
        return _tpu_strategy(name, tpu or "local")
    if name == "multi_worker":
        return _multi_worker_strategy()
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" and not gpus:
        raise UserError("--strategy=mirrored found no GPU.")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return _mirrored_strategy()
    return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")


# One a process, as strategies number their collective operations alike: those
# of a second one over the same devices would be taken for the first one's.
@functools.cache
def _mirrored_strategy():
    return tf.distribute.MirroredStrategy()


def is_of_several_hosts(strategy: tf.distribute.Strategy) -> bool:
    """Whether a strategy's replicas are in several processes."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def local_strategy() -> tf.distribute.Strategy:
    """The strategy of what one of several hosts does by itself."""
    return tf.distribute.get_strategy()


@contextlib.contextmanager
def loss_reported(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns TensorFlow's errors where a worker is lost into a `UserError`.

    Args:
        strategy: What `make_strategy` returned.
    """
    try:
        yield
    except tf.errors.OpError as error:
        message = one_line(error)
        is_lost = "Collective ops is aborted" in message
        if not is_lost or not is_of_several_hosts(strategy):
            raise
        raise UserError(
            f"{_lost_worker(message)} of TF_CONFIG was lost; when it ended by "
            "an error, see what it said, and run the same command on all "
            "workers again to resume."
        ) from error


def _multi_worker_strategy():
    workers = read_workers()
    others = [address for address, is_own in workers.values() if not is_own]
    tell_waiting(others)
    try:
        # It waits without end, and without letting other threads run.
        with ended_by_signals():
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except Exception as error:  # Of many types.
        raise UserError(
            "--strategy=multi_worker cannot reach the workers of TF_CONFIG "
            f"({shorten(others)}): {one_line(error)}"
        ) from error
    # All hosts' batches are full, and as many. Otherwise the hosts would ask
    # each other before each batch, and no shape would be known.
    strategy.extended.experimental_enable_get_next_as_optional = False
    return strategy


def _lost_worker(message):
    """The address of the worker that a message of TensorFlow's is about."""
    workers = read_workers()
    # Those that are told of come before those that are guessed.
    named = message.partition("are unhealthy")[2] + message
    for kind, index in re.findall(
        r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)", named
    ):
        address, is_own = workers.get((kind, int(index)), ("", True))
        if not is_own:
            return f"the worker {address}"
    return "a worker"


def _tpu_strategy(strategy, name):
    try:
        with _patience():
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(name)
            address = urllib.parse.urlsplit(resolver.master())
            if address.hostname:
                # TensorFlow would try to connect for many minutes.
                where = address.hostname, address.port
                socket.create_connection(where).close()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except Exception as error:  # Google's client raises any of many types.
        reason = one_line(error).partition(" Registered devices:")[0]
        raise UserError(
            f"--strategy={strategy} found no TPU (--tpu={name}, expected the "
            "name or the grpc:// address of a TPU, or local for this "
            f"machine's): {reason}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


@contextlib.contextmanager
def _patience():
    """Limits how long new connections wait; Google's client sets no limit."""
    earlier = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(earlier)

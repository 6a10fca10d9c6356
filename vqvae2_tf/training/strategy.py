"""The devices that a run uses."""

import contextlib
import os
import socket
import urllib.parse

import tensorflow as tf

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.files import atomic

# Seconds to wait for an answer of a TPU, or of the service that knows TPUs.
_PATIENCE = 10.0


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Makes a `tf.distribute` strategy, whose chief writes all files.

    Args:
        name: `one`: one device, a GPU if there is one; `mirrored`: all GPUs of
            this host; `tpu`: the TPU that TPU_NAME names, or this machine's;
            `auto`: `tpu` if TPU_NAME is set, `mirrored` with two or more GPUs,
            else `one`.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        UserError: If there is no such device.
    """
    strategy = _make_strategy(name)
    atomic.is_chief = strategy.extended.should_checkpoint
    return strategy


def _make_strategy(name):
    if name == "tpu" or (name == "auto" and os.environ.get("TPU_NAME")):
        return _tpu_strategy(name)
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" and not gpus:
        raise UserError("--strategy=mirrored found no GPU.")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")


def _tpu_strategy(strategy):
    name = os.environ.get("TPU_NAME") or "local"
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
            f"--strategy={strategy} found no TPU (TPU_NAME={name}, expected "
            "the name or the grpc:// address of a TPU, or local for this "
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

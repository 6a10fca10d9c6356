"""The devices that a run uses."""

import os

import tensorflow as tf

from vqvae2_tf.errors import UserError
from vqvae2_tf.files import atomic


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
        return _tpu_strategy()
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" and not gpus:
        raise UserError("--strategy=mirrored found no GPU.")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")


def _tpu_strategy():
    name = os.environ.get("TPU_NAME", "local")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"--strategy=tpu found no TPU (TPU_NAME={name}): "
            f"{str(error).splitlines()[0]}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)

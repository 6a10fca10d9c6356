"""Which devices a run uses."""

import json
import os

import tensorflow as tf

from vqvae2_tf.data.files import UserError

STRATEGIES = ("auto", "one", "mirrored", "multi_worker", "tpu")


def make_strategy(name):
    """The `tf.distribute` strategy of a name.

    Args:
        name: `one` device; `mirrored` over all of this host's GPUs;
            `multi_worker` over the hosts in TF_CONFIG; `tpu`, the one that
            TPU_NAME or this machine names; or `auto`: `tpu` if TPU_NAME is
            set, `multi_worker` if TF_CONFIG names a cluster, `mirrored` with
            two or more GPUs, else `one`.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        UserError: If there is no such device, or TF_CONFIG is missing.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if name == "auto":
        if os.environ.get("TPU_NAME"):
            name = "tpu"
        elif json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster"):
            name = "multi_worker"
        else:
            name = "mirrored" if len(gpus) > 1 else "one"
    if name == "tpu":
        return _tpu_strategy()
    if name == "multi_worker":
        if not os.environ.get("TF_CONFIG"):
            raise UserError(
                "--strategy=multi_worker expects the hosts in the environment "
                "variable TF_CONFIG, which is not set."
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")


def _tpu_strategy():
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=os.environ.get("TPU_NAME", "local")
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise UserError(
            "--strategy=tpu found no TPU "
            f"(TPU_NAME={os.environ.get('TPU_NAME', 'local')}): "
            f"{str(error).splitlines()[0]}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)

"""The hosts that train one network together, on JAX."""

import json
import os

import jax

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line

# Seconds that hosts wait for each other.
_PATIENCE = 300


def join() -> None:
    """Meets the other hosts, before JAX has looked for devices.

    Where TF_CONFIG lists the workers, as for TensorFlow, they meet at the first
    one's address. Without it JAX asks what started the hosts: Cloud TPU, SLURM,
    Kubernetes or Open MPI.

    Raises:
        UserError: If TF_CONFIG is not sound, or the hosts do not meet.
    """
    where = {}
    if os.environ.get("TF_CONFIG"):
        workers, index = _workers(os.environ["TF_CONFIG"])
        where = {
            "coordinator_address": workers[0],
            "num_processes": len(workers),
            "process_id": index,
        }
    # Signals are handled by the training, which stops all hosts.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**where, initialization_timeout=_PATIENCE)
    except Exception as error:  # Of many types.
        raise UserError(
            "--strategy=multi_worker found no other hosts (expected TF_CONFIG, "
            "or a cluster that JAX knows: Cloud TPU, SLURM, Kubernetes or Open "
            f"MPI): {one_line(error)}"
        ) from error


def _workers(text):
    """Addresses of all workers, and which of them this process is."""
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        own = cluster[task["type"]][task["index"]]
        workers = [*cluster.get("chief", []), *cluster.get("worker", [])]
        return workers, workers.index(own)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            'TF_CONFIG: expected JSON such as {"cluster": {"worker": '
            '["host1:2222", "host2:2222"]}, "task": {"type": "worker", '
            f'"index": 0}}}}. Received: {text}'
        ) from error

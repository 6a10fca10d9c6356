"""The hosts that train together, on JAX."""

import os

import jax

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.training.workers import read_workers


def join() -> None:
    """Meets the other hosts, before JAX looks for devices.

    Where TF_CONFIG lists the workers, as for TensorFlow, they meet at the first
    one's address. Without it JAX asks what started the hosts: Cloud TPU, SLURM,
    Kubernetes or Open MPI.

    Raises:
        UserError: If TF_CONFIG is not sound, or the hosts do not meet.
    """
    where = {}
    if os.environ.get("TF_CONFIG"):
        addresses, owned = zip(*read_workers().values(), strict=True)
        where = {
            "coordinator_address": addresses[0],
            "num_processes": len(addresses),
            "process_id": owned.index(True),
        }
    # Signals are handled by the training, which stops all hosts.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        # A host that ends by an error does not wait long for the others.
        jax.distributed.initialize(**where, shutdown_timeout_seconds=10)
    except Exception as error:  # Of many types.
        raise UserError(
            "--strategy=multi_worker found no other hosts (expected TF_CONFIG, "
            "or a cluster that JAX knows: Cloud TPU, SLURM, Kubernetes or Open "
            f"MPI): {one_line(error)}"
        ) from error

"""The hosts that train together, on JAX."""

import functools
import os

import jax

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.training import workers


def join() -> None:
    """Meets the other hosts, before JAX looks for devices.

    Where TF_CONFIG lists the workers, as for TensorFlow, they meet at the first
    one's address. Without it JAX asks what started the hosts: Cloud TPU, SLURM,
    Kubernetes or Open MPI.

    Raises:
        UserError: If TF_CONFIG is not sound, or the hosts do not meet in time.
    """
    where, others = {}, []
    if os.environ.get("TF_CONFIG"):
        listed = workers.read_workers().values()
        addresses, owned = zip(*listed, strict=True)
        others = [address for address, is_own in listed if not is_own]
        where = {
            "coordinator_address": addresses[0],
            "num_processes": len(addresses),
            "process_id": owned.index(True),
        }
    # Signals are handled by the training, which stops all hosts.
    jax.config.update("jax_enable_preemption_service", False)
    initialize = functools.partial(
        jax.distributed.initialize,
        **where,
        # JAX ends the process when it gives up: not before this project does.
        initialization_timeout=int(2 * workers.PATIENCE),
        # A host that ends by an error does not wait long for the others.
        shutdown_timeout_seconds=10,
    )
    try:
        workers.meet(others, initialize)
    except UserError:
        raise
    except Exception as error:  # Of many types.
        raise UserError(
            "--strategy=multi_worker found no other hosts (expected TF_CONFIG, "
            "or a cluster that JAX knows: Cloud TPU, SLURM, Kubernetes or Open "
            f"MPI): {one_line(error)}"
        ) from error

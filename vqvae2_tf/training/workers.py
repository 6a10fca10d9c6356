"""The processes that train together, as TF_CONFIG lists them."""

import json
import os
import re

from vqvae2_tf.errors import UserError


def read_workers() -> dict[tuple[str, int], tuple[str, bool]]:
    """The workers that TF_CONFIG lists, for either backend.

    Returns:
        For each kind (`chief` or `worker`) and number of a worker its address,
        and whether it is this process. The first one is the chief.

    Raises:
        UserError: If it is not what `--strategy=multi_worker` needs.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        own = config["task"]["type"], config["task"]["index"]
        workers = {
            (kind, index): (str(address), (kind, index) == own)
            for kind in ("chief", "worker")
            for index, address in enumerate(config["cluster"].get(kind, ()))
        }
        is_right = own in workers and all(
            re.fullmatch(r"[^\s/]+:\d+", address)
            for address, _ in workers.values()
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        is_right = False
    if not is_right:
        raise UserError(
            "--strategy=multi_worker: expected TF_CONFIG to be such as "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": '
            '{"type": "worker", "index": 0}}, with another index for each '
            f"worker. Received: {text or 'no TF_CONFIG'}"
        )
    return workers

"""The processes that train together, as TF_CONFIG lists them."""

import concurrent.futures
import json
import os
import re
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import shorten

# Seconds that a worker waits for the others.
PATIENCE = 600.0


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
        addresses = {address for address, _ in workers.values()}
        is_right = (
            own in workers
            and len(addresses) == len(workers)
            and all(map(_is_address, addresses))
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


def _is_address(text):
    found = re.fullmatch(r"[^\s/]+:(\d{1,5})", text)
    return bool(found) and 0 < int(found[1]) < 2**16


def tell_waiting(others: Sequence[str]) -> None:
    """Says whom this worker waits for.

    Args:
        others: Addresses of the other workers.
    """
    if others:
        print(f"waiting for the other workers: {shorten(others)}", flush=True)


def meet(others: Sequence[str], join: Callable[[], Any]) -> Any:
    """Calls what waits for the other workers, and can be stopped meanwhile.

    It waits in C++, where Python's signal handlers are not called: it is
    another thread's.

    Args:
        others: Addresses of the other workers; none if only `join` knows them.
        join: Function without arguments.

    Returns:
        What `join` returns.

    Raises:
        UserError: If the others do not come within `PATIENCE` seconds.
    """
    tell_waiting(others)
    named = f" {shorten(others)}" if others else ""
    result = concurrent.futures.Future()

    def call():
        try:
            result.set_result(join())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    end = time.monotonic() + PATIENCE
    while not result.done() and time.monotonic() < end:
        # In turns, as a signal to another thread does not wake this one.
        concurrent.futures.wait([result], 0.5)
    if result.done():
        return result.result()
    raise UserError(
        f"--strategy=multi_worker: the other workers{named} did not come "
        f"within {PATIENCE:.0f} seconds; start the same command on all of "
        "them, with the same list of workers in TF_CONFIG."
    )

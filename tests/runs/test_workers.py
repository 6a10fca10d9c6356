"""Two processes that train together end as one process does."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.small_run import assert_one_sentence
from tests.small_run import contents
from vqvae2_tf.training.state import STATE_FILE

# Their masks are of the replicas; see `tests/training/test_tensorflow.py`.
NO_DROPOUT = [
    "--prior_dropout=0",
    "--dead_code_restart_steps=2",
    "--precision=float32",
    "--sample_grid=2",
    # Each of two hosts reads its own part.
    "--readers=2",
]
NETWORKS = ("autoencoder", "prior_top", "prior_bottom")
# Seconds: much more than a run takes, and than a lost worker is waited for.
PATIENCE = 600


def environment(backend):
    own = {"PYTHONPATH": os.getcwd(), "KERAS_BACKEND": backend}
    return {**os.environ, **own}


def free_addresses(count):
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return [f"127.0.0.1:{port}" for port in ports]


class Workers:
    """Processes that train together.

    Args:
        *arguments: Flags of `train`; one list for each process.
        backend: Keras' backend.
    """

    def __init__(self, *arguments, backend="tensorflow"):
        self.backend = backend
        self.addresses = free_addresses(len(arguments))
        self.processes = [
            self._start(index, flags) for index, flags in enumerate(arguments)
        ]

    def _start(self, index, flags):
        cluster = {"worker": self.addresses}
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": cluster, "task": task})
        return subprocess.Popen(
            [sys.executable, "-m", "vqvae2_tf", "train", *flags],
            env=environment(self.backend) | {"TF_CONFIG": config},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.communicate()

    def ends(self):
        """Status, output and last error line of each process."""
        for process in self.processes:
            out, err = process.communicate(timeout=PATIENCE)
            yield process.returncode, out, (err.splitlines() or [""])[-1]


@pytest.fixture(scope="module")
def flags(small_run):
    def of(run_dir, *more):
        return [*small_run.arguments(run_dir), *NO_DROPOUT, *more]

    return of


def run_alone(flags, run_dir, backend="tensorflow"):
    """Makes a run in one process."""
    command = [sys.executable, "-m", "vqvae2_tf", "train", *flags(run_dir)]
    subprocess.run(
        command, env=environment(backend), check=True, timeout=PATIENCE
    )


@pytest.fixture(scope="module")
def alone(flags, tmp_path_factory):
    """The folder of a run of one process."""
    run_dir = tmp_path_factory.mktemp("alone") / "run"
    run_alone(flags, run_dir)
    return run_dir


def together(flags, run_dir, *more, backend="tensorflow"):
    arguments = flags(run_dir, "--strategy=multi_worker", *more)
    return Workers(arguments, arguments, backend=backend)


def check_like_one_process(run_dir, alone):
    for network in NETWORKS:
        one, two = (
            load_file(folder / network / STATE_FILE)
            for folder in (alone, run_dir)
        )
        assert one.keys() == two.keys()
        for name, values in one.items():
            np.testing.assert_allclose(
                two[name], values, rtol=1e-5, atol=1e-5, err_msg=name
            )
    one, two = (contents(folder / "codes") for folder in (alone, run_dir))
    for folder in (one, two):
        # The fingerprint of weights that differ by their rounding, and when
        # files were written.
        del folder["codes.json"], folder["checked.json"]
    assert one == two


def files(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


@pytest.mark.large
def test_two_workers_end_where_one_process_does(flags, alone, tmp_path):
    run_dir = tmp_path / "run"
    with together(flags, run_dir) as workers:
        (status, out, _), (other_status, other_out, _) = workers.ends()
    assert (status, other_status) == (0, 0)
    assert "prior_bottom: nll" in out
    # The chief alone writes, on the terminal too.
    assert len(other_out.splitlines()) == 1
    logs = {name for name in files(alone) if "events.out" in name}
    assert files(alone) - logs <= files(run_dir)
    assert len(files(alone)) == len(files(run_dir))
    check_like_one_process(run_dir, alone)


@pytest.mark.large
def test_two_workers_on_jax_end_where_one_process_does(flags, tmp_path):
    # Masks are of the whole batch there, and the state may be shared.
    def of(run_dir, *more):
        return flags(run_dir, "--prior_dropout=0.5", "--shard_state", *more)

    run_alone(of, tmp_path / "alone", "jax")
    with together(of, tmp_path / "run", backend="jax") as workers:
        (status, out, _), (other_status, other_out, _) = workers.ends()
    assert (status, other_status) == (0, 0)
    assert "prior_bottom: nll" in out
    assert "nll" not in other_out
    check_like_one_process(tmp_path / "run", tmp_path / "alone")


def wait_for(path, workers):
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < end
        assert all(p.poll() is None for p in workers.processes)
        time.sleep(0.05)


@pytest.mark.large
@pytest.mark.parametrize(
    ("killed", "network"), [(0, "prior_top"), (1, "autoencoder")]
)
def test_a_lost_worker_is_named_and_the_next_start_resumes(
    flags, alone, tmp_path, killed, network
):
    run_dir = tmp_path / "run"
    with together(flags, run_dir) as workers:
        wait_for(run_dir / network / STATE_FILE, workers)
        workers.processes[killed].kill()
        (status, _, _), (other_status, _, message) = sorted(workers.ends())
    assert (status, other_status) == (-signal.SIGKILL, 1)
    assert_one_sentence(message, f"{workers.addresses[killed]} ", "was lost")
    with together(flags, run_dir) as workers:
        assert [status for status, _, _ in workers.ends()] == [0, 0]
    check_like_one_process(run_dir, alone)


@pytest.mark.large
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_all_workers_stop_where_one_is_asked_to(flags, tmp_path, backend):
    with together(
        flags, tmp_path / "run", "--steps=1000", backend=backend
    ) as workers:
        wait_for(tmp_path / "run" / "autoencoder" / STATE_FILE, workers)
        workers.processes[1].terminate()
        ends = list(workers.ends())
    assert [status for status, _, _ in ends] == [75, 75], ends
    one, two = (message for _, _, message in ends)
    assert one == two
    assert "stopped after" in one


@pytest.mark.large
def test_other_flags_than_the_chiefs_are_told(flags, tmp_path):
    shared = "--strategy=multi_worker"
    chiefs = flags(tmp_path / "run", shared)
    with Workers(chiefs, [*chiefs, "--seed=7"]) as workers:
        (status, _, chiefs_message), (_, _, message) = workers.ends()
    assert status == 1
    assert_one_sentence(message, "--seed", "0 then, 7 now")
    assert_one_sentence(chiefs_message, workers.addresses[1], "was lost")

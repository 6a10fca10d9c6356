"""One process at a time works in a folder."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.files import atomic
from vqvae2_tf.files import filesystem
from vqvae2_tf.files import lock as locks
from vqvae2_tf.files.lock import lock


@contextlib.contextmanager
def locking_process(script):
    """A Python process that says `locked` when it has locked a folder."""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "locked\n"
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def locked_by_another(folder, seconds):
    """Another process locks a folder for a time."""
    script = (
        "import sys, time; from vqvae2_tf.files.lock import lock\n"
        f"with lock({str(folder)!r}):\n"
        f"    print('locked', flush=True); time.sleep({seconds})"
    )
    with locking_process(script) as process:
        yield process


def test_a_locked_folder_is_refused_until_its_process_ends(tmp_path):
    folder = tmp_path / "new" / "folder"
    with (
        locked_by_another(folder, 60),
        pytest.raises(UserError, match=str(folder)),
        lock(str(folder)),
    ):
        pass
    with lock(str(folder)):
        pass
    assert not list(folder.iterdir())


LEASED = "ram://leases/folder"


@pytest.fixture
def quick(monkeypatch):
    """As if a second were a minute."""
    monkeypatch.setattr(locks, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(locks, "RENEWAL_SECONDS", 0.2)
    monkeypatch.setattr(locks, "SETTLING_SECONDS", 0.05)
    yield
    filesystem.remove(LEASED)


def lease():
    return f"{LEASED}/{locks.LEASE_FILE}"


def test_a_folder_without_locks_is_leased_and_the_lease_renewed(quick):
    with lock(LEASED):
        time.sleep(1.5)  # Longer than a lease holds by itself.
        with (
            pytest.raises(UserError, match=f"process {os.getpid()} on "),
            lock(LEASED),
        ):
            pass
    assert not filesystem.exists(lease())
    with lock(LEASED):
        pass


@pytest.mark.parametrize("wait", [False, True])
def test_a_lease_that_is_not_renewed_ends(wait, quick, capsys):
    left = {"owner": "process 1 on host", "token": "x", "time": time.time()}
    atomic.write_json(lease(), left)
    with lock(LEASED, wait=wait):
        written = atomic.read_json(lease(), "")
    assert written["owner"] != left["owner"]
    assert written["time"] >= left["time"] + 1.0
    waiting = f"waiting for process 1 on host in {LEASED}\n"
    assert capsys.readouterr().out == waiting


@contextlib.contextmanager
def leased_by_another(folder):
    """Another process leases a folder; a second is as a minute for it."""
    script = (
        "import time\n"
        "from vqvae2_tf.files import lock as locks\n"
        "locks.fcntl = None\n"
        "locks.LEASE_SECONDS, locks.RENEWAL_SECONDS = 1.0, 0.2\n"
        "locks.SETTLING_SECONDS = 0.05\n"
        f"with locks.lock({str(folder)!r}):\n"
        "    print('locked', flush=True)\n"
        "    time.sleep(60)"
    )
    with locking_process(script) as process:
        yield process


def pause(process, folder):
    """Stops a process between two renewals; returns its lease."""
    path = str(folder / locks.LEASE_FILE)
    first = atomic.read_json(path, "")
    while (renewed := atomic.read_json(path, "")) == first:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    return renewed


def assert_ended(process, folder, owner):
    _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert error.startswith(f"error: {folder} was taken by {owner}, ")
    assert error.count("\n") == 1


# One that holds, and one of a process that ended before it was noticed.
@pytest.mark.parametrize("age", [0.0, 60.0])
def test_a_process_whose_lease_was_taken_ends(age, tmp_path):
    path = tmp_path / locks.LEASE_FILE
    with leased_by_another(tmp_path) as process:
        pause(process, tmp_path)
        written = time.time() - age
        taken = {"owner": "process 1 on host", "token": "x", "time": written}
        atomic.write_json(str(path), taken)
        process.send_signal(signal.SIGCONT)
        assert_ended(process, tmp_path, "process 1 on host")
    # It wrote nothing, nor removed the other's lease.
    assert atomic.read_json(str(path), "") == taken


def test_a_process_paused_until_another_has_finished_ends(tmp_path):
    with leased_by_another(tmp_path) as process:
        pause(process, tmp_path)
        (tmp_path / locks.LEASE_FILE).unlink()
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        assert_ended(process, tmp_path, "another process")
    assert not list(tmp_path.iterdir())


def test_a_paused_process_goes_on_if_nobody_took_its_lease(tmp_path):
    path = str(tmp_path / locks.LEASE_FILE)
    with leased_by_another(tmp_path) as process:
        left = pause(process, tmp_path)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        end = time.monotonic() + 30
        while (renewed := atomic.read_json(path, "")) == left:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        assert renewed["token"] == left["token"]
        assert process.poll() is None


def test_a_process_may_remove_what_it_leases(quick):
    with lock(LEASED):
        filesystem.remove(LEASED)
        time.sleep(1.5)
    assert not filesystem.exists(lease())


def test_a_lease_that_cannot_be_read_is_told(quick, monkeypatch):
    def fail(_):
        raise OSError("no connection")

    monkeypatch.setattr(atomic, "read_bytes", fail)
    told = f"^{lease()} cannot be read: no connection$"
    with pytest.raises(UserError, match=told), lock(LEASED):
        pass


def test_of_many_that_lease_at_once_one_goes_on(quick, monkeypatch):
    monkeypatch.setattr(locks, "LEASE_SECONDS", 60.0)
    monkeypatch.setattr(locks, "SETTLING_SECONDS", 0.5)
    inside, most, lost = [], [], []

    def work():
        try:
            with lock(LEASED):
                inside.append(1)
                most.append(len(inside))
                end = time.monotonic() + 60
                while len(lost) < 3 and time.monotonic() < end:
                    time.sleep(0.1)
                inside.pop()
        except UserError:
            lost.append(1)

    # None of them is the chief of several hosts.
    monkeypatch.setattr(atomic, "is_chief", False)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(lost) == 3


def test_waiting_ends_with_the_other_process(tmp_path, capsys):
    with (
        locked_by_another(tmp_path, 1) as process,
        lock(str(tmp_path), wait=True),
    ):
        process.wait(timeout=60)
    assert (
        f"waiting for another process in {tmp_path}" in capsys.readouterr().out
    )

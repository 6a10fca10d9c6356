"""Waiting for the other workers."""

import signal
import threading

import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.training import workers

pytestmark = pytest.mark.any_backend


def fail(error):
    raise error


def test_what_joins_gives_its_result(capsys):
    assert workers.meet([], lambda: 3) == 3
    assert capsys.readouterr().out == ""
    assert workers.meet(["b:2", "c:3"], lambda: 4) == 4
    said = "waiting for the other workers: b:2, c:3\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError("x")])
def test_errors_of_what_joins_are_its_own(error):
    with pytest.raises(type(error), match="^x$"):
        workers.meet([], lambda: fail(error))


def test_workers_that_do_not_come_are_told(monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 0.1)
    ended = threading.Event()
    with pytest.raises(UserError, match="workers b:2, c:3 did not come") as end:
        workers.meet(["b:2", "c:3"], ended.wait)
    ended.set()
    assert "\n" not in str(end.value)


def test_a_signal_ends_the_waiting():
    ended, late = threading.Event(), []

    def join():
        # Until the main thread waits, which a signal to another does not wake.
        ended.wait(0.3)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        late.append(not ended.wait(60))

    # SIGINT may be ignored, as a shell has it in the background.
    earlier = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            workers.meet(["b:2"], join)
    finally:
        signal.signal(signal.SIGUSR1, earlier)
    assert not late
    ended.set()

"""Which signals ask a training to stop."""

import os
import signal

import pytest

from vqvae2_tf.training.interruption import StopRequest
from vqvae2_tf.training.interruption import ended_by_signals
from vqvae2_tf.training.interruption import stop_signals


@pytest.fixture
def hangup():
    """Sets what is done at SIGHUP, until the test ends."""
    earlier = signal.getsignal(signal.SIGHUP)
    yield lambda handler: signal.signal(signal.SIGHUP, handler)
    signal.signal(signal.SIGHUP, earlier)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
)
def test_each_signal_asks_to_stop_once(number, hangup):
    hangup(signal.SIG_DFL)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(n) for n in numbers]
    with StopRequest() as stop:
        assert signal.getsignal(number) not in before
        os.kill(os.getpid(), number)
        assert stop.requested
        if number == signal.SIGHUP:
            # A closed terminal sends a second one at once.
            os.kill(os.getpid(), signal.SIGHUP)
            before[2] = signal.SIG_IGN
        assert [signal.getsignal(n) for n in numbers] == before
    assert [signal.getsignal(n) for n in numbers] == before


def test_a_hangup_that_is_ignored_stays_ignored(hangup):
    hangup(signal.SIG_IGN)
    assert stop_signals() == [signal.SIGTERM]
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.requested
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_system_without_hangups_has_the_others(monkeypatch):
    monkeypatch.delattr(signal, "SIGHUP")
    assert stop_signals() == [signal.SIGTERM]


def test_signals_end_a_process_in_a_call_that_keeps_python_waiting():
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with ended_by_signals():
        inside = [signal.getsignal(number) for number in numbers]
    assert inside == [signal.SIG_DFL] * 2
    assert [signal.getsignal(number) for number in numbers] == before
    assert before != inside

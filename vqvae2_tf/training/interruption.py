"""Stopping a run at a point where it can resume."""

import contextlib
import signal
import threading
from collections.abc import Iterator


def stop_signals() -> list[signal.Signals]:
    """The signals that ask a process to stop, besides Ctrl-C's SIGINT.

    SIGTERM, and SIGHUP, which a closed terminal sends; not where it is ignored,
    as `nohup` has it, nor on Windows, which has no such signal.
    """
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN:
        return [signal.SIGTERM]
    return [signal.SIGTERM, hangup]


def ignore_more_hangups(number: int) -> None:
    """Ignores SIGHUP after the first: a closed terminal sends it twice.

    Args:
        number: The signal that came.
    """
    if number == getattr(signal, "SIGHUP", None):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Lets signals end the process at once, where nothing is to be saved.

    For a call into C++ that keeps Python from handling them. In the main thread
    alone, as only there they can be set.
    """
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {
            number: signal.signal(number, signal.SIG_DFL)
            for number in (signal.SIGINT, *stop_signals())
        }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class StopRequest:
    """A context manager that catches SIGINT, SIGTERM and SIGHUP.

    Inside the block, the first of these signals sets `requested`; the second
    one acts as usual, but for a second SIGHUP. Signals reach only a process's
    main thread; in other threads nothing is caught. See `stop_signals`.

    Attributes:
        requested: Whether the run was asked to stop.
    """

    def __init__(self):
        self.requested = False
        self._handlers = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._handlers = {
                number: signal.signal(number, self._note)
                for number in (signal.SIGINT, *stop_signals())
            }
        return self

    def __exit__(self, *_):
        self._restore()

    def _note(self, number, _):
        self.requested = True
        self._restore()
        ignore_more_hangups(number)

    def _restore(self):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

"""Stopping a run where it can be gone on with."""

import signal
import threading
import types


class StopRequest:
    """Notes SIGINT and SIGTERM instead of dying of them, as a context manager.

    Inside the block, the first of these signals sets `requested`; the second
    one acts as it always does. Signals reach only a process's main thread;
    in another one nothing is caught.

    Attributes:
        requested: Whether the run was asked to stop.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.requested = False
        self._handlers = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._handlers = {
                number: signal.signal(number, self._note)
                for number in self._SIGNALS
            }
        return self

    def __exit__(self, *_):
        self._restore()

    def _note(self, number: int, frame: types.FrameType | None):
        self.requested = True
        self._restore()

    def _restore(self):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

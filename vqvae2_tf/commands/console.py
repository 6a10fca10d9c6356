"""What the terminal shows: this project's words. The rest goes to a log.

TensorFlow writes to file descriptor 2 from C++, some of it while it is
imported; Keras, TFDS and TensorFlow use Python's logging and warnings.
"""

import contextlib
import io
import logging
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from vqvae2_tf.files import atomic

_PACKAGE = str(pathlib.Path(__file__).parents[1]) + os.sep
# A crash in C++ ends the process at once. A shell that outlives it reads the
# log's name, and shows the log's end unless the last line is "done".
_WATCH = """
while read -r line; do last=$line; done
[ "$last" = done ] || { echo "The end of $last:"; tail -n 20 "$last"; } >&2
"""
_watcher = None
_temporary = ""


@contextlib.contextmanager
def own_words_only() -> Iterator[None]:
    """Sends what libraries write to standard error into a temporary file.

    `sys.stderr` stays the terminal's, for progress bars and errors, and so do
    this package's log messages. The file is removed at the end of the block,
    unless an exception that is no exit ends it, or the process crashes: then
    its last lines are shown, with its name.

    Nothing is done if a test or a notebook has taken over `sys.stderr`, or if
    the user has set TF_CPP_MIN_LOG_LEVEL below 3 to see the messages.
    """
    global _watcher, _temporary
    is_asked_for = os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3"
    is_usual = sys.stderr is sys.__stderr__ is not None and os.name == "posix"
    if is_asked_for or not is_usual:
        yield
        return
    sys.stderr.flush()
    terminal = os.fdopen(os.dup(2), "w", 1, errors="backslashreplace")
    file, _temporary = tempfile.mkstemp(".log", "vqvae2-")
    _watcher = subprocess.Popen(
        ["sh", "-c", _WATCH],
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Out of reach of Ctrl-C.
    )
    os.dup2(file, 2)
    os.close(file)
    sys.stderr = terminal
    handlers = _handlers(terminal)
    logging.root.handlers += handlers
    logging.captureWarnings(True)
    _tell(_temporary)
    ended = True
    try:
        yield
    except Exception:
        ended = False
        raise
    finally:
        if ended:
            _tell("done")
            pathlib.Path(_temporary).unlink(missing_ok=True)
        _watcher.communicate()
        _watcher = None
        logging.captureWarnings(False)
        for handler in handlers:
            logging.root.removeHandler(handler)
        os.dup2(terminal.fileno(), 2)
        sys.stderr = sys.__stderr__


def keep_log(path: str) -> None:
    """Appends what is in the log, and all that follows, to a local file.

    Of several runs in one process each has its file; what came before them is
    in the first one's.
    """
    if _watcher is None or "://" in path:
        return
    with open(path, "ab", buffering=0) as log:
        log.write(f"{time.ctime()}: {shlex.join(sys.argv)}\n".encode())
        os.dup2(log.fileno(), 2)
        if os.path.exists(_temporary):
            log.write(pathlib.Path(_temporary).read_bytes())
            os.remove(_temporary)
    _tell(path)


def only_on_the_chief() -> contextlib.AbstractContextManager:
    """Prints on the chief alone, of several hosts that do the same."""
    if atomic.is_chief:
        return contextlib.nullcontext()
    return contextlib.redirect_stdout(io.StringIO())


def _handlers(terminal):
    """Log handlers: this package's messages to the terminal, others to fd 2.

    With them TensorFlow and absl add none of their own.
    """

    def is_own(record):
        return record.pathname.startswith(_PACKAGE)

    shown = logging.StreamHandler(terminal)
    shown.addFilter(is_own)
    shown.setFormatter(logging.Formatter("warning: %(message)s"))
    logged = logging.StreamHandler(sys.__stderr__)
    logged.addFilter(lambda record: not is_own(record))
    logged.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
    return [shown, logged]


def _tell(line):
    with contextlib.suppress(BrokenPipeError):  # Somebody ended the shell.
        _watcher.stdin.write(f"{line}\n")
        _watcher.stdin.flush()

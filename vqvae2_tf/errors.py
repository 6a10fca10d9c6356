"""User errors, and the one translation of foreign errors into sentences."""

import errno
import os
from collections.abc import Sequence


class UserError(ValueError):
    """A user's mistake, reported in one sentence without a stack trace."""


def one_line(error: BaseException) -> str:
    """The message of an exception on one line."""
    return " ".join(str(error).split())


def shorten(names: Sequence[str], count: int = 5) -> str:
    """The first of many names, for a sentence: "a, b and 7 more".

    Names with line ends and other control characters are shown escaped.
    """
    more = len(names) - count
    shown = ", ".join(
        name if name.isprintable() else ascii(name) for name in names[:count]
    )
    return f"{shown} and {more} more" if more > 0 else shown


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an exception, or one that caused it, reports a full disk.

    A full disk, an exceeded quota, or a file above the largest size allowed.
    """
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    while error is not None:
        if isinstance(error, OSError) and error.errno in codes:
            return True
        # TensorFlow's errors have the words but not the number.
        if any(os.strerror(code) in str(error) for code in codes):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception reports a full memory, of the host or a device."""
    # By name, as neither TensorFlow nor JAX need be installed.
    names = {base.__name__ for base in type(error).__mro__}
    if "JaxRuntimeError" in names:
        return "RESOURCE_EXHAUSTED" in str(error)
    return bool({"ResourceExhaustedError", "MemoryError"} & names)


def sentence_for(error: BaseException, memory_advice: str = "") -> str | None:
    """What a command prints when an exception ends it.

    Args:
        error: The exception.
        memory_advice: What the user can do if the memory is full.

    Returns:
        One sentence, or None for an error whose stack trace is needed.
    """
    if isinstance(error, UserError):
        return f"error: {error}"
    if isinstance(error, KeyboardInterrupt):
        # A training's own, which resumes; not all commands do.
        return str(error) or "Interrupted. Run the same command again."
    if is_disk_full(error):
        return (
            "error: the disk is full; make room and run the same command "
            "again to resume."
        )
    if is_out_of_memory(error):
        return f"error: out of memory{memory_advice and '; '}{memory_advice}."
    return None

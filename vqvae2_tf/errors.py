"""User errors, and the one translation of foreign errors into sentences."""

import errno
import os
from collections.abc import Sequence


class UserError(ValueError):
    """A mistake of the user's, told in one sentence without a stack trace."""


def one_line(error: BaseException) -> str:
    """The message of an exception on one line."""
    return " ".join(str(error).split())


def shorten(names: Sequence[str], count: int = 5) -> str:
    """The first of many names, for a sentence: "a, b and 7 more"."""
    more = len(names) - count
    shown = ", ".join(names[:count])
    return f"{shown} and {more} more" if more > 0 else shown


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an exception, or one that caused it, says the disk is full.

    Full, over its quota, or at the largest size that a file may have.
    """
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    while error is not None:
        if isinstance(error, OSError) and error.errno in codes:
            return True
        # TensorFlow's errors have the words and not the number.
        if any(os.strerror(code) in str(error) for code in codes):
            return True
        error = error.__cause__ or error.__context__
    return False

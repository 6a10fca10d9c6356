"""Where a number first stopped being finite, in one sentence."""

import pathlib
import re
import traceback

from vqvae2_tf.errors import UserError

_PACKAGE = pathlib.Path(__file__).parents[1]
# Calls that are named, of those that led to an operation.
_CALLS = 3


class NotFiniteError(UserError):
    """An operation gave infinity or NaN.

    Args:
        operation: Name of the operation.
        calls: File and line number of each call that led to it, the innermost
            one last.
    """

    def __init__(self, operation: str, calls: list[tuple[str, int]]):
        own = [
            f"{pathlib.Path(file).relative_to(_PACKAGE)}:{line}"
            for file, line in calls
            if _PACKAGE in pathlib.Path(file).parents
        ]
        super().__init__(
            f"--check_numerics: {operation} is the first operation whose "
            "result is not finite; it was called in "
            f"{' > '.join(own[-_CALLS:]) or 'a library'}"
        )


def from_tensorflow(message: str) -> NotFiniteError:
    """The error for a message of `tf.debugging.enable_check_numerics`."""
    found = re.search(r'output \d+ of (?:graph|eager) op "(\w+)"', message)
    calls = re.findall(r"\+ (\S+) \(L(\d+)\)", message)
    return NotFiniteError(
        found[1] if found else "an unknown one",
        [(file, int(line)) for file, line in calls],
    )


def from_jax(error: FloatingPointError) -> NotFiniteError:
    """The error for one that `jax.debug_nans` or `jax.debug_infs` raised."""
    frames = traceback.extract_tb(error.__traceback__)
    # Keras appends a layer's arguments.
    found = re.search(r"encountered in (\w+)", str(error))
    return NotFiniteError(
        found[1] if found else "an unknown one",
        [(frame.filename, frame.lineno) for frame in frames],
    )

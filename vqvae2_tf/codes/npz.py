"""One image's codes as an .npz file: an array a level."""

import io
from collections.abc import Sequence

import numpy as np

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.files import atomic
from vqvae2_tf.level import Level

ENDING = ".npz"


def save_codes(path: str, codes: dict[str, np.ndarray]) -> None:
    """Writes an image's codes whole or not at all.

    Args:
        path: Path of the file.
        codes: `{"<level>": [*level.shape]}`.
    """
    data = io.BytesIO()
    np.savez_compressed(data, **codes)
    atomic.write_bytes(path, data.getvalue())


def load_codes(path: str, levels: Sequence[Level]) -> dict[str, np.ndarray]:
    """Reads an image's codes.

    Args:
        path: Path of the file.
        levels: What the file must hold.

    Returns:
        `{"<level>": [*level.shape]}` in the level's dtype; `level.unknown`
        where a code is not known.

    Raises:
        UserError: If the file cannot be read or holds anything else.
    """
    try:
        arrays = dict(np.load(io.BytesIO(atomic.read_bytes(path))))
    except Exception as error:  # Damage raises any of many types in NumPy.
        raise UserError(f"cannot be read: {one_line(error)}") from error
    shapes = {name: array.shape for name, array in arrays.items()}
    expected = {level.name: level.shape for level in levels}
    if shapes != expected:
        raise UserError(f"expected maps {expected}, found {shapes}")
    return {level.name: _checked(level, arrays[level.name]) for level in levels}


def _checked(level, array):
    if not level.num_codes:
        return array.astype(level.dtype)
    if not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{level.name}: expected integers, found {array.dtype}")
    try:
        level.codes().check_all(array)
    except ValueError as error:
        raise UserError(str(error)) from error
    return array.astype(level.dtype)

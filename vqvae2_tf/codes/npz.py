"""One picture's codes as an .npz file: an int32 array a level."""

import io

import numpy as np
import tensorflow as tf

from vqvae2_tf.errors import UserError
from vqvae2_tf.files.atomic import replacing

ENDING = ".npz"


def save_codes(path: str, codes: dict[str, np.ndarray]) -> None:
    """Writes a picture's codes whole or not at all.

    Args:
        path: Of the file.
        codes: `{"<level>": [h, w] int32}`.
    """
    data = io.BytesIO()
    np.savez_compressed(data, **codes)
    with (
        replacing(path) as temporary,
        tf.io.gfile.GFile(temporary, "wb") as file,
    ):
        file.write(data.getvalue())


def load_codes(
    path: str, map_sizes: dict[str, tuple[int, int]], num_codes: int
) -> dict[str, np.ndarray]:
    """Reads a picture's codes.

    Args:
        path: Of the file.
        map_sizes: `{"<level>": (h, w)}`, what the file must hold.
        num_codes: K.

    Returns:
        `{"<level>": [h, w] int32 in [-1, K)}`; -1 is not known.

    Raises:
        UserError: If the file cannot be read or holds anything else.
    """
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            arrays = dict(np.load(io.BytesIO(file.read())))
    except Exception as error:  # What NumPy raises of damage has no end.
        reason = " ".join(str(error).split())
        raise UserError(f"cannot be read: {reason}") from error
    shapes = {name: array.shape for name, array in arrays.items()}
    if shapes != map_sizes:
        raise UserError(f"expected maps {map_sizes}, found {shapes}")
    for name, array in arrays.items():
        if not np.issubdtype(array.dtype, np.integer):
            raise UserError(f"{name}: expected integers, found {array.dtype}")
        if array.min() < -1 or array.max() >= num_codes:
            raise UserError(
                f"{name}: expected codes from 0 to {num_codes - 1} (-1 where "
                f"not known), found {array.min()} to {array.max()}"
            )
    return {name: array.astype("int32") for name, array in arrays.items()}

"""A training state on disk: one file of named arrays, for every backend."""

import json
import math
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.errors import shorten
from vqvae2_tf.files import atomic
from vqvae2_tf.files import filesystem
from vqvae2_tf.files.atomic import read_bytes
from vqvae2_tf.files.atomic import replacing

STATE_FILE = "state.safetensors"


def write_arrays(path: str, arrays: Mapping[str, Any]) -> None:
    """Writes named arrays as a safetensors file, whole or not at all.

    The package's own functions either copy everything in memory first or write
    another temporary file, which a killed process would leave behind.

    Args:
        path: Local, or any that TensorFlow writes.
        arrays: Arrays or Keras variables, by name; copied to the host one at a
            time.
    """
    header, end = {}, 0
    # Large items first, so that all are aligned.
    specs = {name: _spec(array) for name, array in arrays.items()}
    names = sorted(specs, key=lambda name: -specs[name][1].itemsize)
    for name in names:
        shape, dtype = specs[name]
        start, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {
            "dtype": _format_name(dtype),
            "shape": shape,
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (
        replacing(path) as temporary,
        filesystem.opened(temporary, "wb") as file,
    ):
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(keras.ops.convert_to_numpy(arrays[name]).tobytes())


def read_arrays(
    path: str, expected: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Reads what `write_arrays` wrote.

    Args:
        path: Path of the file.
        expected: What has the names, shapes and dtypes that the arrays must
            have. An integer may be stored in another integer dtype that holds
            its value, as backends have different ones.

    Returns:
        dict of arrays with the names and the dtypes of `expected`.

    Raises:
        UserError: If the file is damaged, or holds other arrays.
    """
    try:
        if filesystem.is_local(path):
            found = safetensors.numpy.load_file(path)
        else:
            found = safetensors.numpy.load(read_bytes(path))
    # NumPy lacks some of the format's dtypes: KeyError or TypeError.
    except (safetensors.SafetensorError, KeyError, TypeError) as error:
        raise _unusable(path, f"is damaged ({one_line(error)})") from error
    different = sorted(found.keys() ^ expected.keys()) or [
        name for name in found if not _fits(found[name], expected[name])
    ]
    if different:
        reason = f"another network (different: {shorten(different)})"
        raise _unusable(path, f"is the training state of {reason}")
    return {
        name: array.astype(_spec(expected[name])[1], copy=False)
        for name, array in found.items()
    }


def save_state(
    folder: str,
    variables: Mapping[str, Sequence[keras.Variable]],
    counters: Mapping[str, float],
) -> None:
    """Writes a training state, on the chief.

    Args:
        folder: Folder of the state's file.
        variables: Variables by their part of the state, as in
            `{"model": model.variables}`.
        counters: Further numbers, by name.
    """
    if not atomic.is_chief:
        return
    write_arrays(os.path.join(folder, STATE_FILE), _named(variables, counters))


def restore_state(
    folder: str,
    variables: Mapping[str, Sequence[keras.Variable]],
    counters: dict[str, float],
) -> None:
    """Restores what `save_state` wrote, if the folder holds a state.

    Args:
        folder: Folder of the state's file.
        variables: As for `save_state`; they are assigned.
        counters: As for `save_state`; its values are replaced.

    Raises:
        UserError: If the file is damaged or of another network. Then nothing
            has been changed.
    """
    path = os.path.join(folder, STATE_FILE)
    if not filesystem.exists(path):
        return
    named = _named(variables, counters)
    arrays = read_arrays(path, named)
    for name in counters:
        counters[name] = float(arrays.pop(f"counters/{name}"))
    for name, array in arrays.items():
        named[name].assign(array)


def steps_taken(folder: str) -> int | None:
    """Training steps of the state in a folder, without reading the rest.

    Args:
        folder: Folder of the state's file.

    Returns:
        The steps; None if there is no state, or it cannot be read.
    """
    path = os.path.join(folder, STATE_FILE)
    try:
        with filesystem.opened(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            whole = file.tell()
            file.seek(0)
            size = int.from_bytes(file.read(8), "little")
            # A damaged file may name any size.
            header = json.loads(file.read(min(size, whole)))
            name = next(n for n in header if n.endswith("/0000.iteration"))
            start, end = header[name]["data_offsets"]
            file.seek(8 + size + start)
            return int.from_bytes(file.read(end - start), "little")
    except (
        *(OSError, ValueError, LookupError, StopIteration),
        *(TypeError, AttributeError),
    ):
        return None


def _named(variables, counters):
    """Variables and counters by names that are the same in every process.

    Such as "model/0012.kernel" and "optimizer/loss/0003.momentum". Keras' paths
    are not: they count the layers that the process created before.
    """
    named = {f"counters/{name}": np.float64(x) for name, x in counters.items()}
    for group, members in variables.items():
        for i, variable in enumerate(members):
            name = variable.name
            if group.startswith("optimizer/"):
                # The path of a weight and "momentum".
                name = name.rpartition("_")[2]
            named[f"{group}/{i:04}.{name}"] = variable
    return named


def _spec(x):
    return tuple(x.shape), np.dtype(keras.backend.standardize_dtype(x.dtype))


def _fits(array, expected):
    shape, dtype = _spec(expected)
    if array.dtype.kind in "iu" and dtype.kind in "iu":
        # Backends count in different dtypes.
        return array.shape == shape and np.all(array == array.astype(dtype))
    return array.shape == shape and array.dtype == dtype


def _format_name(dtype):
    """The format's name of a dtype, such as F32, I64 or BOOL."""
    if dtype.kind == "b":
        return "BOOL"
    return f"{dtype.kind.upper()}{8 * dtype.itemsize}"


def _unusable(path, reason):
    return UserError(
        f"{path} {reason}; remove it to train this network from the start."
    )

"""Files of pretrained weights of several frameworks, as NumPy arrays."""

import os

import h5py
import numpy as np
import tensorflow as tf

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.files import atomic
from vqvae2_tf.files.state_dict import read_state_dict


def read_weights(path: str, flag: str) -> dict[str, np.ndarray]:
    """Reads the weights of a file by its ending.

    Args:
        path: Of a frozen graph of TensorFlow (`.pb`), a state dict of PyTorch
            (`.pth` or `.pt`), or HDF5 weights of Keras (`.h5`).
        flag: Name of the flag that names it.

    Returns:
        The arrays by the names that the file has for them.

    Raises:
        UserError: If there is no such file, or it is damaged.
    """
    readers = {
        ".pb": _read_graph,
        ".pth": read_state_dict,
        ".pt": read_state_dict,
        ".h5": _read_hdf5,
    }
    ending = os.path.splitext(path)[1].lower()
    if ending not in readers or not os.path.isfile(path):
        raise UserError(
            f"--{flag}={path}: expected a file that ends in one of "
            f"{', '.join(readers)}. Received: "
            f"{'another ending' if os.path.isfile(path) else 'no such file'}"
        )
    try:
        return readers[ending](path)
    except UserError as error:
        raise UserError(f"--{flag}: {error}") from error
    except Exception as error:  # Damage raises any of many types.
        raise UserError(
            f"--{flag}={path} cannot be read: {one_line(error)}"
        ) from error


def _read_graph(path):
    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(atomic.read_bytes(path))
    return {
        node.name: tf.make_ndarray(node.attr["value"].tensor)
        for node in graph.node
        if node.op == "Const"
    }


def _read_hdf5(path):
    arrays = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return arrays

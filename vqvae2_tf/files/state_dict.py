"""State dicts of PyTorch as NumPy arrays, read without PyTorch.

Both formats of `torch.save`: the zip archive of today, and the stream of
pickles of releases before 1.6. Pickles can run any program: here they may name
ordered dicts, tensors and the storages of tensors, and anything else is
refused.
"""

import collections
import io
import pickle
import struct
import zipfile

import numpy as np

from vqvae2_tf.errors import UserError
from vqvae2_tf.files import atomic

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "ByteStorage": "<u1",
    "CharStorage": "<i1",
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "ShortStorage": "<i2",
}
_Tensor = collections.namedtuple("_Tensor", "key offset shape strides")


def read_state_dict(path: str) -> dict[str, np.ndarray]:
    """Reads a state dict.

    Args:
        path: Path of a file that `torch.save` wrote.

    Returns:
        The arrays by their names.

    Raises:
        UserError: If it is another file, damaged, or holds anything else.
    """
    data = atomic.read_bytes(path)
    try:
        if data[:2] == b"PK":
            return _read_archive(data)
        return _read_stream(data)
    except Exception as error:  # Damage raises any of many types.
        raise UserError(
            f"{path}: expected a state dict of PyTorch, tensors by name alone. "
            f"Received: {error}"
        ) from error


class _Unpickler(pickle.Unpickler):
    """Reads ordered dicts and tensors; notes the storages that they need."""

    def __init__(self, file):
        super().__init__(file)
        self.dtypes = {}

    def find_class(self, module, name):
        found = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }.get((module, name))
        if module == "torch" and name in _DTYPES:
            return name
        if found is None:
            raise ValueError(f"{module}.{name}")
        return found

    def persistent_load(self, pid):
        _, storage, key, *_ = pid
        self.dtypes[key] = np.dtype(_DTYPES[storage])
        return key


def _rebuild(key, offset, shape, strides, *_):
    return _Tensor(key, offset, shape, strides)


def _read_archive(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (index,) = (n for n in archive.namelist() if n.endswith("/data.pkl"))
        folder = index.removesuffix("data.pkl")
        unpickler = _Unpickler(io.BytesIO(archive.read(index)))
        tensors = unpickler.load()
        storages = {
            key: np.frombuffer(archive.read(f"{folder}data/{key}"), dtype)
            for key, dtype in unpickler.dtypes.items()
        }
    return _arrays(tensors, storages)


def _read_stream(data):
    file = io.BytesIO(data)
    if _Unpickler(file).load() != _MAGIC:
        raise ValueError("another file")
    _Unpickler(file).load()  # Version of the format.
    _Unpickler(file).load()  # Sizes of the writer's integers.
    unpickler = _Unpickler(file)
    tensors = unpickler.load()
    storages = {}
    for key in _Unpickler(file).load():
        (count,) = struct.unpack("<q", file.read(8))
        dtype = unpickler.dtypes[key]
        raw = file.read(count * dtype.itemsize)
        storages[key] = np.frombuffer(raw, dtype, count)
    return _arrays(tensors, storages)


def _arrays(tensors, storages):
    arrays = {}
    for name, tensor in tensors.items():
        storage = storages[tensor.key][tensor.offset :]
        last = sum(
            (n - 1) * s
            for n, s in zip(tensor.shape, tensor.strides, strict=True)
        )
        if last >= len(storage) or min((0, *tensor.strides)) < 0:
            raise ValueError(f"{name}, which is cut off")
        strides = [s * storage.itemsize for s in tensor.strides]
        arrays[name] = np.lib.stride_tricks.as_strided(
            storage, tensor.shape, strides
        ).copy()
    return arrays

"""Code maps that another tokenizer made: NumPy arrays, or a file an image."""

import os
from collections.abc import Sequence

import numpy as np

from vqvae2_tf.codes import npz
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.errors import shorten
from vqvae2_tf.files import filesystem
from vqvae2_tf.files.listing import list_files
from vqvae2_tf.level import Level

LABELS = "labels"


class CodeArrays:
    """Code maps as arrays of all images: an .npy or .npz file, or a folder.

    A folder has an .npy file a level, `<level>.npy`, as an .npz has an array a
    level. With classes, the array `labels` `[N]` has each image's. With a
    single level its array may have any name. Arrays of .npy files are not read
    into memory.

    Args:
        path: Path of the file or the folder.
        levels: The codes' levels, coarsest first.
        class_names: Names of the classes; empty without classes.

    Raises:
        UserError: If an array is missing, cannot be read or has another shape.
    """

    def __init__(
        self, path: str, levels: Sequence[Level], class_names: Sequence[str]
    ):
        self._path = path
        self._levels = levels
        arrays = _open_arrays(path)
        self._labels = None
        labels = arrays.pop(LABELS, None)
        if len(levels) == len(arrays) == 1:
            arrays = {levels[0].name: next(iter(arrays.values()))}
        names = [level.name for level in levels]
        if {*names} != {*arrays}:
            raise UserError(
                f"{path}: expected the arrays {', '.join(names)}"
                f"{f' and {LABELS}' if class_names else ''}. Found: "
                f"{', '.join(arrays) or 'none'}"
            )
        self._maps = [arrays[name] for name in names]
        self.count = len(self._maps[0]) if self._maps[0].ndim else 0
        for level, maps in zip(levels, self._maps, strict=True):
            flat = (self.count, level.num_positions)
            shapes = [(self.count, *level.shape), flat]
            self._check(level.name, maps, shapes)
        if class_names:
            if labels is None:
                raise UserError(
                    f"{path}: expected an array {LABELS}, as the card has "
                    "classes; an .npy file has none, but a folder may."
                )
            self._check(LABELS, labels, [(self.count,)])
            highest = len(class_names) - 1
            wrong = labels[(labels < 0) | (labels > highest)]
            if wrong.size:
                raise UserError(
                    f"{path}: {LABELS}: expected classes from 0 to {highest}. "
                    f"Received: {wrong[0]}"
                )
            self._labels = labels

    def _check(self, name, array, shapes):
        if array.shape not in shapes or not self.count:
            expected = " or ".join(map(str, dict.fromkeys(shapes)))
            raise UserError(
                f"{self._path}: {name}: expected the shape {expected}, with "
                f"one image or more. Found: {array.shape}"
            )
        if array.dtype.kind not in "iu":
            raise UserError(
                f"{self._path}: {name}: expected integers. Found: {array.dtype}"
            )

    def read(self, rows: np.ndarray) -> tuple[list, np.ndarray, list[bytes]]:
        """Codes, labels and ids of some of the images.

        Args:
            rows: Their numbers, `[n]`.

        Returns:
            Tuple of a list of `[n, *level.shape]`, coarsest first, int32;
            labels `[n]`, 0 without classes; and ids.

        Raises:
            UserError: If a code is none of its level's.
        """
        codes = []
        for level, maps in zip(self._levels, self._maps, strict=True):
            own = maps[rows].reshape(len(rows), *level.shape)
            _check_codes(self._path, level, own)
            codes.append(own.astype(level.dtype))
        labels = np.zeros(len(rows), int)
        if self._labels is not None:
            labels = np.asarray(self._labels[rows])
        return codes, labels, [str(row).encode() for row in rows]


class CodeFiles:
    """Code maps as an .npz file an image, as `vqvae2 encode` writes them.

    With classes, each file is in the subfolder of its class.

    Args:
        path: Path of the folder.
        levels: The codes' levels, coarsest first.
        class_names: Names of the classes; empty without classes.

    Raises:
        UserError: If there are no files, or some in no class's subfolder.
    """

    def __init__(
        self, path: str, levels: Sequence[Level], class_names: Sequence[str]
    ):
        self._folder = path
        self._levels = levels
        self._paths = list_files(path, [npz.ENDING]).paths
        self.count = len(self._paths)
        if not self.count:
            raise UserError(
                f"{path}: expected .npy files, or an .npz file an image. "
                "Found: none"
            )
        self._labels = np.zeros(self.count, int)
        labels = {name: label for label, name in enumerate(class_names)}
        for i, file in enumerate(self._paths if class_names else ()):
            name = file.partition("/")[0]
            if name not in labels:
                raise UserError(
                    f"{path}/{file}: expected a file in the subfolder of a "
                    f"class, which are {shorten(class_names, 10)}."
                )
            self._labels[i] = labels[name]

    def read(self, rows: np.ndarray) -> tuple[list, np.ndarray, list[bytes]]:
        """Codes, labels and ids of some of the images; see `CodeArrays`."""
        examples = []
        for row in rows:
            path = os.path.join(self._folder, self._paths[row])
            try:
                codes = npz.load_codes(path, self._levels)
            except UserError as error:
                raise UserError(f"{path}: {error}") from error
            for level in self._levels:
                _check_codes(path, level, codes[level.name])
            examples.append(codes)
        codes = [np.stack([x[y.name] for x in examples]) for y in self._levels]
        ids = [self._paths[row].encode() for row in rows]
        return codes, self._labels[rows], ids


def open_codes(
    path: str, levels: Sequence[Level], class_names: Sequence[str]
) -> CodeArrays | CodeFiles:
    """The code maps of a file or a folder, whichever way they are stored.

    Raises:
        UserError: If there are none; see `CodeArrays` and `CodeFiles`.
    """
    if not filesystem.exists(path):
        raise UserError(f"{path}: there is no such file or folder.")
    is_folder = filesystem.is_folder(path)
    kind = CodeArrays
    if is_folder and not list_files(path, [".npy"]).paths:
        kind = CodeFiles
    return kind(path, levels, class_names)


def _open_arrays(path):
    """`{"<name>": array}`; of .npy files, read where they are used."""
    paths = [path]
    if filesystem.is_folder(path):
        names = list_files(path, [".npy"]).paths
        paths = [os.path.join(path, name) for name in names]
    arrays = {}
    for file in paths:
        name = os.path.splitext(os.path.basename(file))[0]
        try:
            found = np.load(file, mmap_mode="r")
            if isinstance(found, np.lib.npyio.NpzFile):
                with found:
                    arrays.update({key: found[key] for key in found})
            else:
                arrays[name] = found
        except Exception as error:  # Damage raises any of many types in NumPy.
            raise UserError(
                f"{file} cannot be read: {one_line(error)}"
            ) from error
    return arrays


def _check_codes(path, level, codes):
    if not level.num_codes:
        return  # Vectors.
    try:
        level.codes(minimum=0).check_all(codes)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error

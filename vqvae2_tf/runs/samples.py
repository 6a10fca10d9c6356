"""The folder that samples are written to, class by class."""

import os
import re
from collections.abc import Sequence

import numpy as np

from vqvae2_tf.codes import npz
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import shorten
from vqvae2_tf.files.grids import load_image
from vqvae2_tf.files.grids import save_grid
from vqvae2_tf.files.grids import save_image
from vqvae2_tf.files.listing import list_files

IMAGES = "images"
CODES = "codes"
GRID = "grid.png"
ENTRIES = (IMAGES, CODES, GRID)
_GRID_ROWS = 16
_GRID_COLUMNS = 8


def find_labels(
    flag: str, classes: Sequence[str], class_names: Sequence[str]
) -> list[int]:
    """Labels of the classes that a flag lists, each of them once.

    Args:
        flag: Name of the flag.
        classes: Names, or numbers from 0 unless a class's name is a number.
        class_names: Names of all classes.

    Raises:
        UserError: If there is no such class.
    """
    by_number = not any(map(str.isdecimal, class_names))
    labels = {}
    for name in classes:
        if name in class_names:
            labels[class_names.index(name)] = None
        elif by_number and name.isdecimal() and int(name) < len(class_names):
            labels[int(name)] = None
        elif not class_names:
            raise UserError(f"--{flag}: these priors have no classes.")
        else:
            numbers = f", or numbers below {len(class_names)}" * by_number
            raise UserError(
                f"--{flag}: expected some of {shorten(class_names, 20)}"
                f"{numbers}. Received: {name}"
            )
    return list(labels)


class SampleFolder:
    """Samples on disk: `images/<class>/<index>.png`, and codes likewise.

    A class's folder is named by its label and its name, so that the images can
    be trained on as a folder of classes in the same order. Without classes
    there are no such folders.

    Args:
        folder: Folder of the samples.
        class_names: Names of all classes of the generator.
        keep_codes: Whether codes are written too.
    """

    def __init__(
        self, folder: str, class_names: Sequence[str], keep_codes: bool
    ):
        self.folder = folder
        self.keep_codes = keep_codes
        self._titles = list(class_names)
        digits = len(str(len(class_names) - 1))
        self._names = [
            f"{label:0{digits}d}_" + re.sub(r"\W+", "_", name).strip("_")
            for label, name in enumerate(class_names)
        ]

    def path(self, part: str, label: int, index: int) -> str:
        """Path of an image or its codes, relative to the folder.

        Args:
            part: `IMAGES` or `CODES`.
            label: Its class; 0 without classes.
            index: Its number within the class.
        """
        ending = npz.ENDING if part == CODES else ".png"
        middle = self._names[label : label + 1]
        return os.path.join(part, *middle, f"{index:06d}{ending}")

    def missing(
        self, labels: Sequence[int], count: int
    ) -> list[tuple[int, int]]:
        """`(label, index)` of the samples that are not wholly on disk.

        Args:
            labels: Labels of the classes.
            count: Samples of each class.
        """
        existing = set(list_files(self.folder, [".png", npz.ENDING]).paths)
        parts = (IMAGES, CODES) if self.keep_codes else (IMAGES,)
        return [
            (label, index)
            for index in range(count)
            for label in labels
            if any(self.path(p, label, index) not in existing for p in parts)
        ]

    def write(
        self,
        label: int,
        index: int,
        codes: dict[str, np.ndarray],
        image: np.ndarray,
    ) -> None:
        """Writes an image, and its codes if they are kept.

        Args:
            label: Its class.
            index: Its number within the class.
            codes: `{"<level>": [*level.shape]}`.
            image: `[H, W, C]` float32 in [-1, 1].
        """
        if self.keep_codes:
            path = self.path(CODES, label, index)
            npz.save_codes(os.path.join(self.folder, path), codes)
        path = self.path(IMAGES, label, index)
        save_image(os.path.join(self.folder, path), image)

    def write_grid(self, labels: Sequence[int], count: int) -> str:
        """Writes a PNG of the first images on disk.

        Args:
            labels: Labels of the classes; the first 16 get a row of 8. Without
                classes the first 16 rows are filled.
            count: Images of each class.

        Returns:
            Its path.
        """
        across = min(count, _GRID_COLUMNS)
        if self._titles:
            labels = labels[:_GRID_ROWS]
            titles = [self._titles[label] for label in labels]
            cells = [(label, i) for label in labels for i in range(across)]
        else:
            titles = None
            cells = [(0, i) for i in range(min(count, _GRID_ROWS * across))]
        images = [self._load(*cell) for cell in cells]
        rows = [
            np.stack(images[start : start + across])
            for start in range(0, len(images), across)
        ]
        path = os.path.join(self.folder, GRID)
        save_grid(path, rows, titles)
        return path

    def _load(self, label, index):
        path = os.path.join(self.folder, self.path(IMAGES, label, index))
        try:
            return load_image(path)
        except OSError as error:
            raise UserError(
                f"{path} cannot be read; remove it to draw it again."
            ) from error

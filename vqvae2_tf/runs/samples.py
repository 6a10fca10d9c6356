"""The folder that drawn pictures are written to, class by class."""

import os
import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from vqvae2_tf.codes import npz as code_files
from vqvae2_tf.errors import UserError
from vqvae2_tf.files.grids import load_image
from vqvae2_tf.files.grids import save_grid
from vqvae2_tf.files.grids import save_image

PICTURES = "pictures"
CODES = "codes"
GRID = "grid.png"
ENTRIES = (PICTURES, CODES, GRID)
_GRID_ROWS = 16
_GRID_COLUMNS = 8


class SampleFolder:
    """A sample's files: `pictures/<class>/<index>.png`, and the like in codes.

    A class's folder is named by its label and its name, so that the pictures
    can be trained on as a folder of classes in the same order. Without classes
    there are no such folders.

    Args:
        folder: Of the sample.
        class_names: Of all classes of the generator.
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

    def path(self, part: str, label: int, index: int, ending: str) -> str:
        """Path of a picture or its codes.

        Args:
            part: `PICTURES` or `CODES`.
            label: Of its class; 0 without classes.
            index: Its number within the class.
            ending: Of the file.
        """
        middle = self._names[label : label + 1]
        return os.path.join(self.folder, part, *middle, f"{index:06d}{ending}")

    def found(self, labels: Sequence[int], count: int) -> np.ndarray:
        """Which pictures, and codes if they are kept, are on disk.

        Args:
            labels: Of the sample's classes.
            count: Pictures of each class.

        Returns:
            `[count, len(labels)]` bool.
        """
        found = np.ones((count, len(labels)), bool)
        endings = {PICTURES: ".png"}
        if self.keep_codes:
            endings[CODES] = code_files.ENDING
        for part, ending in endings.items():
            for column, label in enumerate(labels):
                listed = np.zeros(count, bool)
                folder = os.path.dirname(self.path(part, label, 0, ending))
                if tf.io.gfile.exists(folder):
                    for name in tf.io.gfile.listdir(folder):
                        number = re.fullmatch(r"(\d{6})" + ending, name)
                        if number and int(number[1]) < count:
                            listed[int(number[1])] = True
                found[:, column] &= listed
        return found

    def write(
        self,
        label: int,
        index: int,
        codes: dict[str, np.ndarray],
        image: np.ndarray,
    ) -> None:
        """Writes a picture, and its codes if they are kept.

        Args:
            label: Of its class.
            index: Its number within the class.
            codes: `{"<level>": [h, w] int32}`.
            image: `[H, W, C]` float32 in [-1, 1].
        """
        if self.keep_codes:
            code_files.save_codes(
                self.path(CODES, label, index, code_files.ENDING), codes
            )
        save_image(self.path(PICTURES, label, index, ".png"), image)

    def _load(self, label, index):
        path = self.path(PICTURES, label, index, ".png")
        try:
            return load_image(path)
        except (OSError, tf.errors.OpError) as error:
            raise UserError(
                f"{path} cannot be read; remove it to have it drawn again."
            ) from error

    def write_grid(self, labels: Sequence[int], count: int) -> str:
        """Writes a PNG of the first pictures on disk.

        Args:
            labels: Of the sample's classes; the first 16 get a row of 8.
                Without classes the first 16 rows are filled.
            count: Pictures of each class.

        Returns:
            Its path.
        """
        if self._titles:
            labels = labels[:_GRID_ROWS]
            titles = [self._titles[label] for label in labels]
            shown = [
                (label, index)
                for label in labels
                for index in range(min(count, _GRID_COLUMNS))
            ]
        else:
            titles = None
            shown = [
                (0, index)
                for index in range(min(count, _GRID_ROWS * _GRID_COLUMNS))
            ]
        images = [self._load(*which) for which in shown]
        across = min(count, _GRID_COLUMNS)
        rows = [
            np.stack(images[start : start + across])
            for start in range(0, len(images), across)
        ]
        path = os.path.join(self.folder, GRID)
        save_grid(path, rows, titles)
        return path

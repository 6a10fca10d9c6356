"""The folder that samples are written to, class by class."""

import os
import re
from collections.abc import Mapping
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
SCORES = "scores"
CARD = "sample.json"
ENTRIES = (IMAGES, CODES, SCORES, GRID)
_GRID_ROWS = 16
# A sample's number has 20 bits below those of its variation.
MOST_VARIED = 2**20
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


def _in_turn(numbers):
    """`(label, index)`: each class's first sample, then the second ones."""
    return [
        pair
        for row in zip(*numbers.values(), strict=True)
        for pair in zip(numbers, row, strict=True)
    ]


class Sampler:
    """Draws samples, in batches of one size: others would be compiled again.

    Args:
        model: The generator.
        seed: Seed of all samples.
        sampling: Its sampling options.
        batch_size: Samples of a batch.
    """

    def __init__(self, model, seed, sampling, batch_size):
        self._model, self._seed, self._sampling = model, seed, sampling
        self.batch_size = batch_size

    def draw(self, batch, known=None):
        """Draws some samples, the first ones again where they are too few.

        Args:
            batch: Their `(label, index, variation)`.
            known: See `Generator.sample_codes`.

        Returns:
            Tuple of their codes and images.
        """
        num_classes = max(len(self._model.class_names), 1)
        classes, indices, variations = np.resize(batch, (self.batch_size, 3)).T
        # A number of its own for each image of each class.
        sample_ids = indices * num_classes + classes
        sample_ids += variations * MOST_VARIED
        codes = self._model.sample_codes(
            classes, self._seed, sample_ids, self._sampling, known
        )
        return codes, self._model.decode(codes)


class SampleFolder:
    """Samples on disk: `images/<class>/<index>.png`, and codes likewise.

    Variations of a sample, from 1 on, are `<index>_<variation>.png`.

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

    def path(
        self, part: str, label: int, index: int, variation: int = 0
    ) -> str:
        """Path of an image or its codes, relative to the folder.

        Args:
            part: `IMAGES` or `CODES`.
            label: Its class; 0 without classes.
            index: Its number within the class.
            variation: Its number among those of one coarse sample.
        """
        ending = npz.ENDING if part == CODES else ".png"
        middle = self._names[label : label + 1]
        suffix = f"_{variation:04d}" if variation else ""
        return os.path.join(part, *middle, f"{index:06d}{suffix}{ending}")

    def scores_path(self, label: int) -> str:
        """Path of the critic's scores of a class's candidates."""
        return os.path.join(self.folder, SCORES, f"{self._names[label]}.json")

    def missing(
        self, numbers: Mapping[int, Sequence[int]], variations: int = 1
    ) -> list[tuple[int, int, int]]:
        """`(label, index, variation)` of what is not wholly on disk.

        Args:
            numbers: By the label of each class the numbers of its coarse
                samples, equally many.
            variations: Images of each coarse sample.
        """
        existing = set(list_files(self.folder, [".png", npz.ENDING]).paths)
        parts = (IMAGES, CODES) if self.keep_codes else (IMAGES,)
        return [
            sample
            for coarse in _in_turn(numbers)
            for sample in [(*coarse, v) for v in range(variations)]
            if any(self.path(part, *sample) not in existing for part in parts)
        ]

    def write(
        self,
        sample: tuple[int, int, int],
        codes: dict[str, np.ndarray],
        image: np.ndarray,
    ) -> None:
        """Writes an image, and its codes if they are kept.

        Args:
            sample: Its class, its number within it, and its variation.
            codes: `{"<level>": [*level.shape]}`.
            image: `[H, W, C]` float32 in [-1, 1].
        """
        if self.keep_codes:
            path = self.path(CODES, *sample)
            npz.save_codes(os.path.join(self.folder, path), codes)
        path = self.path(IMAGES, *sample)
        save_image(os.path.join(self.folder, path), image)

    def write_grid(
        self, numbers: Mapping[int, Sequence[int]], variations: int = 1
    ) -> str:
        """Writes a PNG of the first images on disk.

        Args:
            numbers: As for `missing`. The first 16 classes get a row of 8.
                Without classes the first 16 rows are filled.
            variations: Images of each coarse sample. If several, the first 16
                coarse samples get a row each.

        Returns:
            Its path.
        """
        count = len(next(iter(numbers.values())))
        across = min(count if variations == 1 else variations, _GRID_COLUMNS)
        if variations > 1:
            coarse = _in_turn(numbers)[:_GRID_ROWS]
            titles = None
            if self._titles:
                titles = [self._titles[label] for label, _ in coarse]
            cells = [(*one, v) for one in coarse for v in range(across)]
        elif self._titles:
            labels = list(numbers)[:_GRID_ROWS]
            titles = [self._titles[label] for label in labels]
            cells = [
                (label, i) for label in labels for i in numbers[label][:across]
            ]
        else:
            titles = None
            cells = [(0, i) for i in numbers[0][: _GRID_ROWS * across]]
        images = [self._load(*cell) for cell in cells]
        rows = [
            np.stack(images[start : start + across])
            for start in range(0, len(images), across)
        ]
        path = os.path.join(self.folder, GRID)
        save_grid(path, rows, titles)
        return path

    def _load(self, *sample):
        path = os.path.join(self.folder, self.path(IMAGES, *sample))
        try:
            return load_image(path)
        except OSError as error:
            raise UserError(
                f"{path} cannot be read; remove it to draw it again."
            ) from error

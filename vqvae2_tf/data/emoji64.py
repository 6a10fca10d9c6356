"""Colour emoji of 64x64 pixels, a data set included in the package."""

import csv
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

ASSETS = pathlib.Path(__file__).parent / "assets" / "emoji64"
SIZE = 64


class Emoji64(tfds.core.GeneratorBasedBuilder):
    """1,870 emoji on white, in the 99 subgroups of Unicode's emoji list.

    Splits `train` (1,678) and `validation` (192), by family. Examples have
    `image` `[64, 64, 3]` uint8, `label` (the subgroup), `group` (one of 9) and
    `name`.
    """

    VERSION = tfds.core.Version("2.0.0")

    def _info(self):
        def classes(column):
            names = dict.fromkeys(row[column] for row in read_rows())
            return tfds.features.ClassLabel(names=list(names))

        features = {
            "image": tfds.features.Image(shape=(SIZE, SIZE, 3)),
            "label": classes("subgroup"),
            "group": classes("group"),
            "name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage="https://github.com/googlefonts/noto-emoji",
            license="SIL Open Font License 1.1; see the package's NOTICE",
        )

    def _split_generators(self, dl_manager):
        generate = self._generate_examples
        return {"train": generate("train"), "validation": generate("valid")}

    def _generate_examples(self, split):
        for row, image in zip(read_rows(), read_images(), strict=True):
            if row["split"] == split:
                yield (
                    int(row["index"]),
                    {
                        "image": image,
                        "label": row["subgroup"],
                        "group": row["group"],
                        "name": row["name"],
                    },
                )


def read_rows() -> list[dict[str, str]]:
    """What is known of each image: `labels.tsv`, in the images' order."""
    with open(ASSETS / "labels.tsv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def read_images() -> np.ndarray:
    """All images in the sheet's order, `[1870, 64, 64, 3]` uint8."""
    with Image.open(ASSETS / "sheet.webp") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    height, width = (n // SIZE for n in pixels.shape[:2])
    cells = pixels.reshape(height, SIZE, width, SIZE, 3).swapaxes(1, 2)
    return cells.reshape(-1, SIZE, SIZE, 3)[: len(read_rows())]

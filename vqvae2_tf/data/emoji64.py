"""Colour emoji of 64x64 pixels, a data set included in the package."""

import csv
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

ASSETS = pathlib.Path(__file__).parent / "assets" / "emoji64"
SIZE = 64


class Emoji64(tfds.core.GeneratorBasedBuilder):
    """1,870 emoji on white, in the 9 groups of Unicode's emoji list.

    Splits `train` (1,678) and `validation` (192), by family. Examples have
    `image` `[64, 64, 3]` uint8, `label` (the group) and `name`.
    """

    VERSION = tfds.core.Version("1.0.1")

    def _info(self):
        groups = dict.fromkeys(row["group"] for row in _rows())
        features = {
            "image": tfds.features.Image(shape=(SIZE, SIZE, 3)),
            "label": tfds.features.ClassLabel(names=list(groups)),
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
        with Image.open(ASSETS / "sheet.webp") as sheet:
            pixels = np.asarray(sheet.convert("RGB"))
        across = pixels.shape[1] // SIZE
        for row in _rows():
            if row["split"] == split:
                index = int(row["index"])
                top, left = SIZE * (index // across), SIZE * (index % across)
                image = pixels[top : top + SIZE, left : left + SIZE]
                label, name = row["group"], row["name"]
                yield index, {"image": image, "label": label, "name": name}


def _rows():
    with open(ASSETS / "labels.tsv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))

"""FFHQ at 1024x1024 from the published folders of PNG files."""

import os

import tensorflow as tf
import tensorflow_datasets as tfds

NUM_PICTURES = 70_000
NUM_TRAIN = 60_000
PNG_FOLDER = "images1024x1024"


def _file_name(number):
    return f"{number // 1000 * 1000:05d}/{number:05d}.png"


def missing_files(folder: str) -> list[str]:
    """Names of the pictures that are not below the PNG folder.

    Args:
        folder: Path of `images1024x1024`.

    Returns:
        List of paths relative to the folder.
    """
    found = set()
    for parent in range(0, NUM_PICTURES, 1000):
        path = os.path.join(folder, f"{parent:05d}")
        if tf.io.gfile.isdir(path):
            found.update(
                f"{parent:05d}/{name}" for name in tf.io.gfile.listdir(path)
            )
    names = (_file_name(number) for number in range(NUM_PICTURES))
    return [name for name in names if name not in found]


class Ffhq(tfds.core.GeneratorBasedBuilder):
    """Flickr-Faces-HQ, 70,000 portraits; the first 60,000 are for training.

    Reads `images1024x1024/00000/00000.png` to `69000/69999.png` below the
    manual directory. Splits `train` and `validation`, by file number. Examples
    have `image` `[1024, 1024, 3]` uint8.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Get the folder {PNG_FOLDER} of FFHQ "
        "(https://github.com/NVlabs/ffhq-dataset) and put it into the manual "
        "directory."
    )

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(1024, 1024, 3), encoding_format="png"
                    )
                }
            ),
            homepage="https://github.com/NVlabs/ffhq-dataset",
        )

    def _split_generators(self, dl_manager):
        folder = os.path.join(dl_manager.manual_dir, PNG_FOLDER)
        return {
            "train": self._generate_examples(folder, 0, NUM_TRAIN),
            "validation": self._generate_examples(
                folder, NUM_TRAIN, NUM_PICTURES
            ),
        }

    def _generate_examples(self, folder, start, stop):
        for number in range(start, stop):
            path = os.path.join(folder, _file_name(number))
            with tf.io.gfile.GFile(path, "rb") as file:
                yield number, {"image": file.read()}

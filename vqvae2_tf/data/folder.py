"""A folder of the user's own pictures as a data set."""

import contextlib
import hashlib
import math
import os
from concurrent import futures

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tqdm import tqdm

from vqvae2_tf.data import decoding
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import shorten
from vqvae2_tf.files.listing import list_files

# Beside `train`, as pictures are often handed on.
HELD_OUT_FOLDERS = ("validation", "valid", "val", "test")


class FolderConfig(tfds.core.BuilderConfig):
    """What is made of which folder.

    The name holds a hash of the folder's listing, so that a folder whose files
    changed is prepared anew.

    Args:
        folder: Path of the folder. If it has pictures in `train` and in one
            of `HELD_OUT_FOLDERS` alone, these are the splits. In it, or in each
            of the two, subfolders are the classes, if there are pictures in
            two or more of them and none beside them.
        image_size: `(height, width)` that pictures are scaled to cover.
        channels: 1 or 3.
        validation_share: Share of the pictures held out for validation, if
            the folders do not say which.

    Raises:
        UserError: If there is no such folder, or there are fewer than two
            pictures in it.
    """

    def __init__(self, folder, image_size, channels, validation_share):
        if not folder:
            raise UserError("--dataset=folder: names no folder.")
        folder = os.path.expanduser(folder.rstrip("/") or "/")
        if not tf.io.gfile.isdir(folder):
            raise UserError(
                f"--dataset=folder:{folder}: there is no such folder."
            )
        self.folder = folder
        self.image_size = tuple(image_size)
        self.channels = channels
        self.validation_share = validation_share
        self.paths = list_files(folder, decoding.ENDINGS)
        if len(self.paths) < 2:
            raise UserError(
                f"--dataset=folder:{folder}: expected two or more pictures "
                f"({', '.join(decoding.ENDINGS)}) in it or its subfolders, "
                f"found {len(self.paths)}."
            )
        subfolders = _subfolders(self.paths)
        self.has_splits = any(
            subfolders == {"train", name} for name in HELD_OUT_FOLDERS
        )
        subfolders = _subfolders(self._within_split(p) for p in self.paths)
        self.classes = sorted(subfolders) if len(subfolders) > 1 else []
        description = [self.image_size, channels, validation_share]
        for path in self.paths:
            try:
                status = tf.io.gfile.stat(os.path.join(folder, path))
            except tf.errors.OpError:
                # A link to nothing, say: broken, as `check` will find.
                continue
            description.append((path, status.length, status.mtime_nsec))
        digest = hashlib.sha256(repr(description).encode()).hexdigest()
        name = os.path.basename(folder) or "root"
        super().__init__(name=f"{name}-{digest[:16]}")

    def _within_split(self, path):
        return path.partition("/")[2] if self.has_splits else path

    def class_of(self, path: str) -> str | int:
        """Name of a picture's class; 0 without classes.

        Args:
            path: Of `paths`.
        """
        if not self.classes:
            return 0
        return self._within_split(path).partition("/")[0]

    def check(self) -> tuple[dict[str, list[str]], list[str]]:
        """Reads and decodes all pictures, and splits the sound ones.

        Without folders for them the split is by a hash of the files' contents:
        copies of a picture under two names fall to the same split, and a
        picture stays in its split when others come or go, but for the one that
        is moved if a split would be empty.

        Returns:
            The paths of each split, and those that cannot be decoded.

        Raises:
            UserError: If there is nothing to train on or to validate with.
        """
        ranks, broken = {}, []
        with (
            futures.ThreadPoolExecutor() as pool,
            contextlib.closing(pool.map(self._rank, self.paths)) as found,
        ):
            for path, rank in tqdm(
                zip(self.paths, found, strict=True),
                desc="checking pictures",
                total=len(self.paths),
                unit="img",
            ):
                if rank is None:
                    broken.append(path)
                else:
                    ranks[path] = rank
        if len(ranks) < 2:
            raise UserError(
                f"--dataset=folder:{self.folder}: expected two or more "
                f"pictures, found {len(ranks)} besides {len(broken)} that "
                f"cannot be decoded: {shorten(broken)}."
            )
        splits = {"train": [], "validation": []}
        if self.has_splits:
            for path in ranks:
                is_train = path.startswith("train/")
                splits["train" if is_train else "validation"].append(path)
            for name, paths in splits.items():
                if not paths:
                    raise UserError(
                        f"--dataset=folder:{self.folder}: none of the pictures "
                        f"for {name} can be decoded."
                    )
            return splits, broken
        bound = self.validation_share
        lowest, highest = min(ranks.values()), max(ranks.values())
        if lowest >= bound:
            bound = math.nextafter(lowest, 1.0)
        elif highest < bound:
            bound = highest
        for path, rank in ranks.items():
            splits["validation" if rank < bound else "train"].append(path)
        if not splits["train"] or not splits["validation"]:
            raise UserError(
                f"--dataset=folder:{self.folder}: all pictures in it are the "
                "same, so that none is left to train on."
            )
        return splits, broken

    def _rank(self, path):
        """Hash of a file in [0, 1), or None if it is no picture."""
        try:
            data = _read(os.path.join(self.folder, path))
            decoding.decode_image(data, self.channels)
        except (decoding.UnreadableImageError, tf.errors.OpError):
            return None
        digest = hashlib.sha256(data).digest()
        return int.from_bytes(digest[:6], "big") / 2**48


class Folder(tfds.core.GeneratorBasedBuilder):
    """Pictures of a folder, decoded, scaled and checked once.

    Splits `train` and `validation`. Examples have `image` `[H, W, C]` uint8
    that just covers the configured size, `label` (0 without classes) and
    `path` relative to the folder.

    Pictures that cannot be decoded are left out; the metadata names them, as
    `broken`.
    """

    VERSION = tfds.core.Version("1.1.0")

    def _info(self):
        config = self.builder_config
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Pictures of {config.folder}.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(None, None, config.channels),
                        encoding_format="png",
                    ),
                    "label": tfds.features.ClassLabel(
                        names=config.classes or ["all"]
                    ),
                    "path": tfds.features.Text(),
                }
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager):
        splits, broken = self.builder_config.check()
        self.info.metadata["broken"] = broken
        return {
            split: self._generate_examples(paths)
            for split, paths in splits.items()
        }

    def _generate_examples(self, paths):
        config = self.builder_config
        for path in paths:
            picture = decoding.decode_image(
                _read(os.path.join(config.folder, path)), config.channels
            )
            pixels = np.asarray(decoding.cover(picture, config.image_size))
            yield (
                path,
                {
                    "image": pixels.reshape(
                        (*pixels.shape[:2], config.channels)
                    ),
                    "label": config.class_of(path),
                    "path": path,
                },
            )


def _subfolders(paths):
    """Names of the folders that hold all paths; none if one is in no folder."""
    found = {path.rpartition("/")[0].partition("/")[0] for path in paths}
    return set() if "" in found else found


def _read(path):
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()

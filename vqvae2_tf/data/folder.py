"""A folder of the user's own images as a data set."""

import contextlib
import hashlib
import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from vqvae2_tf.data import decoding
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import shorten
from vqvae2_tf.files.atomic import read_bytes
from vqvae2_tf.files.listing import list_files

# Usual names of a validation split beside `train`.
HELD_OUT_FOLDERS = ("validation", "valid", "val", "test")


class FolderConfig(tfds.core.BuilderConfig):
    """Which folder is prepared, and how.

    The name holds a hash of the folder's listing, so that a folder whose files
    changed is prepared again.

    Args:
        folder: Path of the folder. If all its images are in `train` and in one
            of `HELD_OUT_FOLDERS`, these are the splits. Subfolders of the
            folder, or of both splits, are the classes if two or more of them
            hold all the images.
        image_size: `(height, width)` that images are scaled to cover.
        channels: 1 or 3.
        validation_share: Share of the images held out for validation, unless
            the folders are the splits.

    Raises:
        UserError: If the folder does not exist or has fewer than two images.
    """

    def __init__(self, folder, image_size, channels, validation_share):
        folder = os.path.expanduser(folder.rstrip("/") or folder)
        self.flag = f"--dataset=folder:{folder}"
        if not tf.io.gfile.isdir(folder):
            raise UserError(f"{self.flag}: there is no such folder.")
        self.folder = folder
        self.image_size = tuple(image_size)
        self.channels = channels
        self.validation_share = validation_share
        self.paths = list_files(folder, decoding.ENDINGS)
        if len(self.paths) < 2:
            raise UserError(
                f"{self.flag}: expected two or more images "
                f"({', '.join(decoding.ENDINGS)}) in it or its subfolders, "
                f"found {len(self.paths)}."
            )
        pairs = [{"train", name} for name in HELD_OUT_FOLDERS]
        self.has_splits = _subfolders(self.paths) in pairs
        subfolders = _subfolders(map(self._within_split, self.paths))
        self.classes = sorted(subfolders) if len(subfolders) > 1 else []
        description = [self.image_size, channels, validation_share]
        for path in self.paths:
            # `check` finds broken links.
            with contextlib.suppress(tf.errors.OpError):
                status = tf.io.gfile.stat(os.path.join(folder, path))
                description.append((path, status.length, status.mtime_nsec))
        digest = hashlib.sha256(repr(description).encode()).hexdigest()
        name = os.path.basename(folder) or "root"
        super().__init__(name=f"{name}-{digest[:16]}")

    def _within_split(self, path):
        return path.partition("/")[2] if self.has_splits else path

    def read(self, path: str) -> bytes:
        """Contents of one of `paths`."""
        return read_bytes(os.path.join(self.folder, path))

    def class_of(self, path: str) -> str | int:
        """Name of an image's class; 0 without classes.

        Args:
            path: One of `paths`.
        """
        name = self._within_split(path).partition("/")[0]
        return name if self.classes else 0

    def check(self) -> tuple[dict[str, list[str]], list[str]]:
        """Decodes all images and splits those that can be decoded.

        If the folders are not the splits, a hash of each file's contents
        decides: copies of an image are in the same split, and an image stays
        in its split when others are added or removed, unless it has to be
        moved into an empty split.

        Returns:
            The paths of each split, and those that cannot be decoded.

        Raises:
            UserError: If there is nothing to train on or to validate with.
        """
        ranks = decoding.check_images(self._rank, self.paths)
        broken = [path for path in self.paths if ranks[path] is None]
        ranks = {p: rank for p, rank in ranks.items() if rank is not None}
        if len(ranks) < 2:
            raise UserError(
                f"{self.flag}: expected two or more images, found {len(ranks)} "
                f"besides {len(broken)} that cannot be decoded: "
                f"{shorten(broken)}."
            )
        # Neither split may be empty.
        lowest, highest = min(ranks.values()), max(ranks.values())
        bound = np.clip(self.validation_share, np.nextafter(lowest, 1), highest)
        splits = {"train": [], "validation": []}
        for path, rank in ranks.items():
            is_train = rank >= bound
            if self.has_splits:
                is_train = path.startswith("train/")
            splits["train" if is_train else "validation"].append(path)
        for name, paths in splits.items():
            if not paths:
                reason = "all its images are the same"
                if self.has_splits:
                    reason = f"none of the images for {name} can be decoded"
                raise UserError(f"{self.flag}: {reason}.")
        return splits, broken

    def _rank(self, path):
        """Hash of a file in [0, 1), or None if it cannot be decoded."""
        try:
            data = self.read(path)
            decoding.decode_image(data, self.channels)
        except (decoding.UnreadableImageError, tf.errors.OpError):
            return None
        return int.from_bytes(hashlib.sha256(data).digest()[:6], "big") / 2**48


class Folder(tfds.core.GeneratorBasedBuilder):
    """Images of a folder, decoded, scaled and checked once.

    Splits `train` and `validation`. Examples have `image` `[H, W, C]` uint8
    that just covers the configured size, `label` (0 without classes) and
    `path` relative to the folder.

    Images that cannot be decoded are skipped; the metadata lists them as
    `broken`.
    """

    VERSION = tfds.core.Version("1.1.0")

    def _info(self):
        config = self.builder_config
        features = {
            "image": tfds.features.Image(shape=(None, None, config.channels)),
            "label": tfds.features.ClassLabel(names=config.classes or ["all"]),
            "path": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Images of {config.folder}.",
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager):
        splits, broken = self.builder_config.check()
        self.info.metadata["broken"] = broken
        generate = self._generate_examples
        return {split: generate(paths) for split, paths in splits.items()}

    def _generate_examples(self, paths):
        config = self.builder_config
        for path in paths:
            image = decoding.decode_image(config.read(path), config.channels)
            pixels = np.atleast_3d(decoding.cover(image, config.image_size))
            label = config.class_of(path)
            yield path, {"image": pixels, "label": label, "path": path}


def _subfolders(paths):
    """Top folders that hold all paths; none if a path is in no folder."""
    names = {path.rpartition("/")[0].partition("/")[0] for path in paths}
    return set() if "" in names else names

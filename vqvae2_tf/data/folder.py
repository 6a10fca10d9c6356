"""A folder of the user's own images as a data set."""

import hashlib
import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from vqvae2_tf.data import contents
from vqvae2_tf.data import decoding
from vqvae2_tf.data.layout import find_layout
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import shorten
from vqvae2_tf.files.atomic import read_bytes
from vqvae2_tf.files.listing import list_files


class FolderConfig(tfds.core.BuilderConfig):
    """Which images are prepared, and how.

    The name is a hash of the images' contents, splits and classes and of what
    else determines the prepared data: not of paths and times. So images that
    were moved or copied are the same data, and changed ones are prepared again.

    Without splits of its own (see `find_layout`) a folder is split by the hash
    of each file's contents: copies of an image are in the same split, and an
    image stays in its split when others are added or removed, unless it has to
    be moved into an empty split.

    Args:
        folder: Path of the folder.
        image_size: `(height, width)` that images are scaled to cover.
        channels: 1 or 3.
        validation_share: Share of the images held out for validation, unless
            the folder has splits.
        index_dir: Folder that keeps what is known of the images; see
            `contents.look`.

    Raises:
        UserError: If the folder does not exist or cannot be read, has fewer
            than two images or an empty split, or unclear splits.
    """

    def __init__(
        self, folder, image_size, channels, validation_share, index_dir
    ):
        folder = os.path.expanduser(folder.rstrip("/") or folder)
        if "://" not in folder:
            folder = os.path.abspath(folder)
        flag = f"--dataset=folder:{folder}"
        if not tf.io.gfile.isdir(folder):
            raise UserError(f"{flag}: there is no such folder.")
        self.folder, self.index_dir = folder, index_dir
        self.image_size = tuple(image_size)
        self.channels = channels
        listing = list_files(folder, decoding.ENDINGS)
        if len(listing.paths) < 2:
            left_out = listing.describe_left_out() or "nothing else"
            raise UserError(
                f"{flag}: expected two or more images "
                f"({', '.join(decoding.ENDINGS)}) in it or its subfolders, "
                f"found {len(listing.paths)} and {left_out}."
            )
        try:
            layout = find_layout(listing.paths)
        except UserError as error:
            raise UserError(f"{flag}: {error}") from error
        used = [path for paths in layout.splits.values() for path in paths]
        hashes, self.broken = contents.look(folder, used, index_dir)
        self.splits = {
            split: [path for path in paths if path in hashes]
            for split, paths in layout.splits.items()
        }
        self.notes = layout.notes
        if layout.held_out:
            self._leave_out_copies(hashes, layout.held_out)
        else:
            ranks = {p: int(h[:12], 16) / 2**48 for p, h in hashes.items()}
            self.splits = _split(ranks, validation_share)
        self._check_splits(flag, len(hashes), layout.held_out)
        # Of images that can be decoded.
        found = set(map(layout.class_of, hashes)) - {None}
        self.classes = sorted(found) if len(found) > 1 else []
        self.held_out = layout.held_out
        if self.broken:
            self.notes.append(
                f"{len(self.broken):,} cannot be decoded: "
                f"{_describe(self.broken)}"
            )
        if listing.left_out:
            self.notes.append(f"not read: {listing.describe_left_out()}")
        # In an order that paths determine only among copies of an image.
        self.examples = {
            split: sorted(
                (hashes[path], self._class_of(layout, path), path)
                for path in paths
            )
            for split, paths in self.splits.items()
        }
        identity = [self.image_size, channels, self.classes]
        for split, examples in sorted(self.examples.items()):
            identity.append((split, [example[:2] for example in examples]))
        digest = hashlib.sha256(repr(identity).encode()).hexdigest()
        super().__init__(name=digest[:16])

    def _check_splits(self, flag, count, held_out):
        """Raises `UserError` unless there is something in each split."""
        empty = [split for split, paths in self.splits.items() if not paths]
        if count < 2:
            raise UserError(
                f"{flag}: expected two or more images, found {count} "
                f"besides {len(self.broken)} that cannot be decoded: "
                f"{_describe(self.broken)}."
            )
        if empty:
            reason = "all its images are the same"
            if held_out:
                reason = (
                    f"none of the images for {empty[0]} can be decoded and is "
                    "no copy of one to train on"
                )
            raise UserError(f"{flag}: {reason}.")

    def _class_of(self, layout, path):
        """Name of an image's class; "" if it has none."""
        return (self.classes and layout.class_of(path)) or ""

    def _leave_out_copies(self, hashes, held_out):
        """Leaves copies of images to train on out of the held-out ones."""
        known = {hashes[path] for path in self.splits["train"]}
        paths = self.splits["validation"]
        copies = [path for path in paths if hashes[path] in known]
        self.splits["validation"] = [p for p in paths if p not in set(copies)]
        if copies:
            self.notes.append(
                f"{len(copies):,} of {held_out} left out as copies of images "
                f"to train on: {shorten(copies)}"
            )


class Folder(tfds.core.GeneratorBasedBuilder):
    """Images of a folder, decoded and scaled once.

    Splits `train` and `validation`. Examples have `image` `[H, W, C]` uint8
    that just covers the configured size, `label` (-1 for a held-out image
    without a class, 0 without classes) and `path` relative to the folder.
    """

    VERSION = tfds.core.Version("2.0.0")

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
        )

    def _split_generators(self, dl_manager):
        examples = self.builder_config.examples
        return {s: self._generate_examples(examples[s]) for s in examples}

    def _generate_examples(self, examples):
        config = self.builder_config
        for number, (digest, name, path) in enumerate(examples):
            data = read_bytes(os.path.join(config.folder, path))
            if hashlib.sha256(data).hexdigest() != digest:
                # With the same size and time: only a new look can tell.
                contents.forget(config.folder, config.index_dir)
                raise UserError(
                    f"{os.path.join(config.folder, path)} has changed since "
                    "the start; run the same command again."
                )
            image = decoding.decode_image(data, config.channels)
            pixels = np.atleast_3d(decoding.cover(image, config.image_size))
            label = name or (-1 if config.classes else 0)
            # TFDS orders the examples by the hash of this.
            key = f"{digest}-{number}"
            yield key, {"image": pixels, "label": label, "path": path}


def _split(ranks, validation_share):
    """Splits paths by their ranks in [0, 1); both get some if ranks differ."""
    lowest = min(ranks.values(), default=0.0)
    highest = max(ranks.values(), default=0.0)
    bound = np.clip(validation_share, np.nextafter(lowest, 1), highest)
    return {
        "train": [path for path, rank in ranks.items() if rank >= bound],
        "validation": [path for path, rank in ranks.items() if rank < bound],
    }


def _describe(broken):
    """Names of files that cannot be decoded, each with its reason."""
    return shorten([f"{path} ({why})" for path, why in broken.items()])

"""Where images come from: any TFDS data set, or a folder."""

import contextlib
import dataclasses
import difflib
import io
import os
import re
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

from vqvae2_tf import errors
from vqvae2_tf.data import emoji64
from vqvae2_tf.data import ffhq
from vqvae2_tf.data import imagenet
from vqvae2_tf.data.folder import Folder
from vqvae2_tf.data.folder import FolderConfig
from vqvae2_tf.data.record_files import open_records
from vqvae2_tf.errors import UserError
from vqvae2_tf.files.lock import lock

FOLDER_PREFIX = "folder:"
_OWN_BUILDERS = {"emoji64": emoji64.Emoji64, "ffhq": ffhq.Ffhq}
_MANUAL_CHECKS = {
    "ffhq": ffhq.find_images,
    "imagenet2012": imagenet.check_archives,
}
# Of images of a folder, and of ImageNet and other TFDS data sets.
_ID_FEATURES = ("path", "file_name")
_UNDECODED = {"image": tfds.decode.SkipDecoding()}
_VALIDATION_NAMES = ("validation", "valid", "test")


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """A data set of images, split in two.

    Args:
        builder: The TFDS builder.
        validation_share: Share of `train` that is held out, from its end, if
            the data set has no validation split.
    """

    builder: tfds.core.DatasetBuilder
    validation_share: float

    @property
    def class_names(self) -> list[str]:
        """Names of the classes; empty if there are fewer than two."""
        label = _features(self.builder).get("label")
        if not isinstance(label, tfds.features.ClassLabel):
            return []
        return list(label.names) if (label.num_classes or 0) > 1 else []

    def describe(self) -> str:
        """What was found: images, classes, and what was not read and why."""
        config = self.builder.builder_config
        names, notes = self.class_names, []
        held_out = self._own_validation or ""
        if isinstance(config, FolderConfig):
            sizes = [len(config.splits[s]) for s in ("train", "validation")]
            notes, held_out = config.notes, config.held_out
        elif self.builder.info.splits:
            sizes = [self.num_examples(s) for s in ("train", "validation")]
        else:
            return f"images: {self.builder.name} is yet to be prepared"
        classes = f"{len(names)} classes ({errors.shorten(names, 10)})"
        if not names and not any(n.startswith("no classes") for n in notes):
            notes = ["no classes", *notes]
        return "; ".join(
            [
                f"images: {sizes[0]:,} to train on",
                f"{sizes[1]:,} held out" + (held_out and f" ({held_out})"),
                *([classes] if names else []),
                *notes,
            ]
        )

    def prepare(self) -> None:
        """Downloads and prepares the data set if that is not done yet.

        Waits while another process prepares it.

        Raises:
            UserError: If the data set cannot be prepared, is damaged, or has
                no split to train on.
        """
        # Not pathlib, which would change gs://bucket.
        folder = str(self.builder.data_dir)
        if not self.builder.is_prepared():
            with lock(os.path.dirname(folder), wait=True):
                if not self.builder.is_prepared():
                    self._prepare()
        if not self.builder.info.splits:
            # Another process, or host, has prepared it.
            self._read_metadata(folder)
        splits = self.builder.info.splits
        needed = 1 if self._own_validation else 2
        if "train" not in splits or splits["train"].num_examples < needed:
            raise UserError(
                f"--dataset={self.builder.name}: expected a split named train "
                f"of {needed} or more images, found {', '.join(splits)}."
            )
        existing = set(tf.io.gfile.listdir(folder))
        for path in (p for s in splits.values() for p in s.filepaths):
            if path.name not in existing:
                raise UserError(
                    f"{path} is missing; remove {folder}, so that the data set "
                    "is prepared again."
                )

    @contextlib.contextmanager
    def damage_reported(self) -> Iterator[None]:
        """Turns TensorFlow's errors at damaged shards into a `UserError`."""
        try:
            yield
        except tf.errors.OpError as error:
            is_short = "was expected to contain" in error.message
            if not is_short and not isinstance(error, tf.errors.DataLossError):
                raise
            raise _damaged(self.builder.data_dir) from error

    def _read_metadata(self, folder):
        try:
            self.builder.info.read_from_directory(folder)
        except Exception as error:  # Damage raises any of many types.
            raise _damaged(folder) from error

    @property
    def data_dir(self) -> str:
        """The folder of prepared data sets."""
        folder, name = str(self.builder.data_dir), self.builder.name
        return folder.rpartition(f"/{name}/")[0]

    def _prepare(self):
        name, root = self.builder.name, self.data_dir
        if name in _MANUAL_CHECKS:
            _MANUAL_CHECKS[name](os.path.join(root, "downloads", "manual"))
        # TFDS's ten retries take minutes where there is no network.
        downloader.MAX_RETRIES = 5
        download = tfds.download.DownloadConfig(try_download_gcs=False)
        try:
            # TFDS's progress bars say enough.
            with contextlib.redirect_stdout(io.StringIO()):
                self.builder.download_and_prepare(download_config=download)
        except Exception as error:  # TFDS raises whatever its builders do.
            if isinstance(error, UserError) or errors.is_disk_full(error):
                raise
            raise UserError(
                f"--dataset={name} is not in {root} (--data_dir) and could "
                f"not be prepared: {errors.one_line(error)}"
            ) from error

    @property
    def _own_validation(self):
        """Name of the data set's own validation split; None without one."""
        splits = self.builder.info.splits
        return next((n for n in _VALIDATION_NAMES if n in splits), None)

    def _instruction(self, split):
        """TFDS's name of a split."""
        if self._own_validation:
            return "train" if split == "train" else self._own_validation
        total = self.builder.info.splits["train"].num_examples
        held_out = max(round(self.validation_share * total), 1)
        kept = max(total - held_out, 1)
        return f"train[:{kept}]" if split == "train" else f"train[{kept}:]"

    def num_examples(self, split: str) -> int:
        """Number of images in a split, `train` or `validation`."""
        return self.builder.info.splits[self._instruction(split)].num_examples

    def fingerprint(self, split: str) -> str:
        """Text that is another one if a split has been prepared again."""
        path = os.path.join(str(self.builder.data_dir), "dataset_info.json")
        with tf.io.gfile.GFile(path) as file:
            info = file.read()
        changed = tf.io.gfile.stat(path).mtime_nsec
        return repr((info, changed, self._instruction(split)))

    def shard_lengths(self, split: str) -> list[int]:
        """Number of images in each shard of a split; see `open_part`."""
        return [file.take for file in self._files(split)]

    def open_part(
        self, split: str, shard: tf.Tensor, first: tf.Tensor, count: tf.Tensor
    ) -> tf.data.Dataset:
        """Images of a shard, encoded and always in the same order.

        Args:
            split: `train` or `validation`.
            shard: Number of the shard, an int64 scalar.
            first: Number of the first image in it, an int64 scalar.
            count: Number of images, an int64 scalar.

        Returns:
            `tf.data.Dataset` of dicts with `image` (scalar string, an encoded
            image), `label` (int32; 0 without classes, -1 for an image without
            one) and `id` (scalar string: the image's path or file name if the
            data set has it, else TFDS's own id).
        """
        has_classes = bool(self.class_names)
        features = self.builder.info.features
        own_id = next((n for n in _ID_FEATURES if n in features), "tfds_id")

        def select(example):
            image, image_id = example["image"], example[own_id]
            label = tf.cast(example["label"] if has_classes else 0, tf.int32)
            return {"image": image, "label": label, "id": image_id}

        files = self._files(split)
        path = tf.constant([os.fspath(f.filename) for f in files])[shard]
        name = tf.constant([os.path.basename(f.filename) for f in files])[shard]
        first += tf.constant([f.skip for f in files], tf.int64)[shard]

        def parse(number, record):
            example = features.deserialize_example(record, decoders=_UNDECODED)
            number = tf.strings.as_string(number)
            tfds_id = tf.strings.join([name, number], "__")
            return select({**example, "tfds_id": tfds_id})

        file_format = self.builder.info.file_format
        dataset = open_records(file_format, path, first, count)
        dataset = tf.data.Dataset.zip(tf.data.Dataset.counter(first), dataset)
        return dataset.map(parse, num_parallel_calls=tf.data.AUTOTUNE)

    def _files(self, split):
        """TFDS's name, first example and number of examples of each shard."""
        return self.builder.info.splits[
            self._instruction(split)
        ].file_instructions


def open_source(
    dataset: str,
    data_dir: str | None = None,
    image_size: tuple[int, int] = (256, 256),
    channels: int = 3,
    validation_share: float = 0.1,
) -> ImageSource:
    """Finds a data set by its name.

    A folder's images are read and decoded, unless they are known from before.

    Args:
        dataset: A TFDS name (`emoji64` and `ffhq` are this package's own), or
            `folder:PATH`.
        data_dir: Folder of TFDS's prepared data; its own default if None.
        image_size: `(height, width)` that images of a folder are scaled to
            cover.
        channels: 1 or 3; channels of images of a folder.
        validation_share: Share held out if there is no validation split.

    Returns:
        An `ImageSource`.

    Raises:
        UserError: If the data set or folder does not exist.
    """
    data_dir = os.path.expanduser(data_dir or str(tfds.core.constants.DATA_DIR))
    if data_dir.startswith("~"):
        raise UserError(
            f"--data_dir: no home folder is known for {data_dir}; name a "
            "folder for prepared data sets."
        )
    if set(data_dir) & set("*?"):
        raise UserError(
            "--data_dir: TFDS finds prepared data sets by patterns, so that "
            f"the path must have no * and no ?. Received: {data_dir}"
        )
    if dataset.startswith(FOLDER_PREFIX):
        path = dataset.removeprefix(FOLDER_PREFIX)
        config = FolderConfig(
            path,
            image_size,
            channels,
            validation_share,
            os.path.join(data_dir, "folder_contents"),
        )
        make = Folder
    elif dataset in _OWN_BUILDERS:
        config, make = None, _OWN_BUILDERS[dataset]
    else:
        builder = _tfds_builder(dataset, data_dir)
        return ImageSource(builder, validation_share)
    try:
        builder = make(config=config, data_dir=data_dir)
    except Exception as error:  # Damaged metadata raise any of many types.
        folder = os.path.join(data_dir, make.name)
        raise _damaged(folder, f" ({errors.one_line(error)[:80]})") from error
    return ImageSource(builder, validation_share)


def _damaged(folder, reason=""):
    return UserError(
        f"the prepared data set in {folder} is damaged{reason}; remove that "
        "folder, so that it is prepared again."
    )


def _tfds_builder(dataset, data_dir):
    try:
        builder = tfds.builder(dataset, data_dir=data_dir)
    except Exception as error:  # TFDS raises exceptions of any type.
        is_unknown = isinstance(error, tfds.core.DatasetNotFoundError)
        if not re.fullmatch(r"\w+(/[\w.=,-]+)*(:[\w.*]+)?", dataset):
            is_unknown = True
        close = []
        if tf.io.gfile.isdir(os.path.expanduser(dataset)):
            close = [f"--dataset={FOLDER_PREFIX}{dataset}"]
        elif is_unknown:
            close = difflib.get_close_matches(dataset, tfds.list_builders(), 3)
        if close or is_unknown:
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise UserError(
                f"--dataset={dataset} is neither a TFDS data set nor "
                f"folder:PATH.{hint}"
            ) from error
        message = errors.one_line(error)
        raise UserError(f"--dataset={dataset}: {message}") from error
    feature = _features(builder).get("image")
    if not isinstance(feature, tfds.features.Image):
        raise UserError(f"--dataset={dataset} has no images named image.")
    if feature.np_dtype == np.float32:
        raise UserError(
            f"--dataset={dataset}: expected images of 8 or 16 bits a channel, "
            "found float32, which has no defined range."
        )
    return builder


def _features(builder):
    # FeaturesDict has no `get`.
    return dict((builder.info.features or {}).items())

"""Images to be evaluated, in one form from whatever source.

    folder:DIR             image files, such as `vqvae2 sample` writes
    npz:FILE               arr_0, [N, H, W, C] uint8, as others publish samples
    dataset:NAME@SPLIT     train or validation of a data set
    run:DIR@SPLIT          the same of a run's own data set, as the run reads it
    run:DIR                samples of a run's priors
    saved_model:DIR        samples of an exported generator

All pass through uint8 once, in the one conversion that PNG files are written
with. Grey images have three equal channels.
"""

import abc
import concurrent.futures
import contextlib
import hashlib
import os
import zipfile
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vqvae2_tf.data import decoding
from vqvae2_tf.data.batches import image_examples
from vqvae2_tf.data.batches import with_ids
from vqvae2_tf.data.image_files import read_image
from vqvae2_tf.data.layout import find_wrapper
from vqvae2_tf.data.source import open_source
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.export import load
from vqvae2_tf.files import filesystem
from vqvae2_tf.files.grids import to_rgb
from vqvae2_tf.files.grids import to_uint8
from vqvae2_tf.files.listing import list_files
from vqvae2_tf.runs import folder
from vqvae2_tf.runs.pipeline import open_images

KINDS = "folder:DIR, npz:FILE, dataset:NAME@SPLIT, run:DIR or saved_model:DIR"
_SPLITS = ("train", "validation")
_ORIENTATION = 0x0112
# Endings of formats of pixels that may be as they are.
_PLAIN = (".bmp", ".tif", ".tiff")
# Images of a data set that are sooner read than the data set is opened again.
_SKIPPED = 64


class Images(abc.ABC):
    """Images in a fixed order.

    Attributes:
        count: Number of images.
        size: `(height, width)`.
        identity: Text that is another one if the images are others.
        class_names: Names of the classes; empty without.
    """

    count: int
    size: tuple[int, int]
    identity: str
    class_names: Sequence[str] = ()

    @abc.abstractmethod
    def read(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads images; fast in order, while a step back may take longer.

        Args:
            first: Number of the first image.
            count: Number of images, n.

        Returns:
            Tuple of the images, `[n, H, W, 3]` uint8, and their labels, `[n]`
            int32: 0 without classes, -1 for an image without one.

        Raises:
            UserError: If an image cannot be decoded.
        """

    def name_of(self, number: int) -> str:
        """An image's file, or what its data set calls it; "" if nothing."""
        return ""


def open_input(
    text: str,
    image_size: tuple[int, int] | None = None,
    channels: int = 3,
    count: int | None = None,
    data_dir: str | None = None,
    flag: str = "input",
) -> Images:
    """Opens the images that a flag names.

    Args:
        text: Value of the flag; see the module.
        image_size: `(height, width)` that images of files and data sets are
            scaled to cover and cropped to, as in training; None to take files
            as they are.
        channels: 1 to make files and data sets grey.
        count: Number of images, the first ones; None for all. Samples need it.
        data_dir: Folder of prepared data sets; None for a run's own.
        flag: Name of the flag.

    Raises:
        UserError: If there are no such images, or fewer than `count`.
    """
    kind, _, rest = text.partition(":")
    path, _, split = rest.rpartition("@")
    # A folder's own name may have an @.
    is_folder = not path or filesystem.is_folder(os.path.expanduser(rest))
    if kind == "folder" and rest:
        images = _Folder(flag, os.path.expanduser(rest), image_size, channels)
    elif kind == "npz" and rest:
        images = _Npz(flag, os.path.expanduser(rest))
    elif kind == "dataset" and path and split in _SPLITS:
        if image_size is None:
            raise UserError(
                f"--{flag}={text} needs --image_size=HEIGHT,WIDTH, as images "
                "of a data set may have any size."
            )
        with _of_flag(flag, text):
            source = open_source(path, data_dir, image_size, channels)
        images = _Source(source, split, image_size, channels)
    elif kind == "run" and path and split in _SPLITS:
        with _of_flag(flag, text):
            config = folder.read_config(os.path.expanduser(path))
            config = config.replace(data_dir=data_dir or config.data_dir)
            source = open_images(config)
        images = _Source(source, split, config.image_size, config.channels)
    elif kind in ("run", "saved_model") and rest and is_folder:
        if count is None:
            raise UserError(f"--{flag}={text} needs --count, to draw so many.")
        options = {}
        model = _find("generator", text, flag)
        if kind == "run":
            options = vars(folder.read_config(os.path.expanduser(rest)))
        images = _Samples(model, count, options)
    else:
        raise UserError(
            f"--{flag}: expected {KINDS}; SPLIT is train or validation. "
            f"Received: {text}"
        )
    if image_size is not None and tuple(images.size) != tuple(image_size):
        raise UserError(
            f"--{flag}={text}: expected images of "
            f"{'x'.join(map(str, image_size))} pixels. Received: "
            f"{'x'.join(map(str, images.size))}"
        )
    if count is not None and count > images.count:
        raise UserError(
            f"--{flag}={text}: expected at least {count} images. Received: "
            f"{images.count}"
        )
    images.count = count or images.count
    return images


@contextlib.contextmanager
def _of_flag(flag, text):
    """Puts the flag before errors that know nothing of it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"--{flag}={text}: {error}") from error


class _Folder(Images):
    """Image files of a folder, in the order of their paths."""

    def __init__(self, flag, path, image_size, channels):
        if not os.path.isdir(path):
            raise UserError(f"--{flag}=folder:{path}: there is no such folder.")
        self._path, self._channels = path, channels
        self._names = list_files(path, decoding.ENDINGS).paths
        if not self._names:
            raise UserError(
                f"--{flag}=folder:{path}: expected images "
                f"({', '.join(decoding.ENDINGS)}). Received: a folder of none"
            )
        self.count = len(self._names)
        self.size = image_size or self._common_size(flag)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            ends = pool.map(self._end_of, self._names)
            pairs = zip(self._names, ends, strict=True)
            self.identity = _digest("\n".join(f"{n} {e}" for n, e in pairs))
        wrapper = find_wrapper(self._names)
        inner = [name.removeprefix(wrapper) for name in self._names]
        tops = [n.partition("/")[0] if "/" in n else "" for n in inner]
        classes = sorted(set(tops))
        self._labels = np.zeros(self.count, "int32")
        if len(classes) > 1 and "" not in classes:
            self.class_names = classes
            self._labels = np.searchsorted(classes, tops).astype("int32")

    def _end_of(self, name):
        """Length and last bytes of a file; PNG has its checksums there.

        Of plain pixels the end tells nothing: all that are in the file count.
        """
        path = os.path.join(self._path, name)
        try:
            with open(path, "rb") as file:
                length = file.seek(0, os.SEEK_END)
                is_plain = name.lower().endswith(_PLAIN)
                file.seek(0 if is_plain else max(0, length - 64))
                data = file.read()
                end = _digest(data) if is_plain else data.hex()
                return f"{length} {end}"
        except OSError as error:
            raise UserError(
                f"{path} cannot be read: {one_line(error)}"
            ) from error

    def _common_size(self, flag):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            sizes = list(pool.map(self._size_of, self._names))
        for name, size in zip(self._names, sizes, strict=True):
            if size != sizes[0]:
                raise UserError(
                    f"--{flag}=folder:{self._path}: expected images of one "
                    f"size, or --image_size. Received: {self._names[0]} of "
                    f"{sizes[0][0]}x{sizes[0][1]} and {name} of "
                    f"{size[0]}x{size[1]} pixels"
                )
        return sizes[0]

    def _size_of(self, name):
        path = os.path.join(self._path, name)
        try:
            with Image.open(path) as image:
                height, width = image.height, image.width
                turned = image.getexif().get(_ORIENTATION, 1) > 4
        except Exception as error:  # Decoders raise exceptions of any type.
            raise UserError(
                f"{path} cannot be decoded: {one_line(error)}"
            ) from error
        return (width, height) if turned else (height, width)

    def read(self, first, count):
        names = self._names[first : first + count]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            images = np.stack(list(pool.map(self._read, names)))
        return images, self._labels[first : first + count]

    def name_of(self, number):
        return self._names[number]

    def _read(self, name):
        path = os.path.join(self._path, name)
        try:
            return to_rgb(to_uint8(read_image(path, self.size, self._channels)))
        except UserError as error:
            raise UserError(f"{path} {error}") from error


class _Npz(Images):
    """The array `arr_0` of an archive, read as a stream."""

    def __init__(self, flag, path):
        self._path = path
        try:
            with (
                zipfile.ZipFile(path) as archive,
                archive.open("arr_0.npy") as file,
            ):
                shape = self._header(file)
                checksum = archive.getinfo("arr_0.npy").CRC
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(
                f"--{flag}=npz:{path}: expected an archive of NumPy with arr_0 "
                f"of images, [N, H, W, 3] uint8. Received: {one_line(error)}"
            ) from error
        self.count, *self.size, self._channels = shape
        self.size = tuple(self.size)
        self.identity = _digest(f"{shape} {checksum}")
        self._stream, self._next = None, 0

    @staticmethod
    def _header(file):
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if len(shape) == 3:
            shape = (*shape, 1)
        if dtype != np.uint8 or fortran or len(shape) != 4 or not shape[0]:
            raise ValueError(f"{dtype} {shape}")
        if shape[-1] not in (1, 3):
            raise ValueError(f"{shape[-1]} channels")
        return shape

    def read(self, first, count):
        if self._stream is None or first < self._next:
            if self._stream:
                self._stream.close()
            with zipfile.ZipFile(self._path) as archive:
                # Reads on from the file, which is closed with it.
                self._stream = archive.open("arr_0.npy")
            self._header(self._stream)
            self._next = 0
        while self._next < first:
            self._take(min(first - self._next, 64))
        return to_rgb(self._take(count)), np.zeros(count, "int32")

    def _take(self, count):
        shape = (count, *self.size, self._channels)
        try:
            data = self._stream.read(int(np.prod(shape)))
            pixels = np.frombuffer(data, "uint8").reshape(shape)
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise UserError(f"npz:{self._path} is damaged.") from error
        self._next += count
        return pixels


class _Source(Images):
    """A split of a data set, its images as validation reads them."""

    def __init__(self, source, split, image_size, channels):
        source.prepare()
        self._source = source
        self._examples = with_ids(
            image_examples(source, split, image_size, channels)
        )
        self.count = self._examples.count
        self.size = tuple(image_size)
        self.class_names = source.class_names
        self.identity = _digest(source.fingerprint(split))
        self._iterator, self._next = None, 0

    def read(self, first, count):
        skipped = first - self._next
        if self._iterator is None or not 0 <= skipped <= _SKIPPED:
            skipped = 0
            rows = self._examples.open(first).map(self._examples.read)
            self._iterator = rows.prefetch(64).as_numpy_iterator()
        with self._source.damage_reported():
            for _ in range(skipped):
                next(self._iterator)
            found = [next(self._iterator) for _ in range(count)]
        self._next = first + count
        images = to_uint8(np.stack([e["image"] for e in found]))
        return to_rgb(images), np.array([e["label"] for e in found], "int32")

    def name_of(self, number):
        rows = self._examples.open(number).map(lambda example: example["id"])
        with self._source.damage_reported():
            return next(rows.as_numpy_iterator()).decode()


class _Samples(Images):
    """Samples of a generator, of its classes in turn, as `sample` draws them.

    A sample's number modulo the number of classes is its class. `options` may
    have values of the sampling options; the others have their defaults.
    """

    _batch_size = 16

    def __init__(self, path, count, options):
        self._model = load.Generator(path)
        self.count = count
        self.class_names = self._model.class_names
        self._options = self._model.options_of(options)
        self.size = self._draw(0)[0].shape[1:3]
        own = ", ".join(f"{k} {v}" for k, v in sorted(self._options.items()))
        self.identity = f"{self._model.fingerprint}, seed 0, {own}"

    def _draw(self, first):
        # The last batch is filled up: another size would be compiled again.
        ids = np.arange(first, first + self._batch_size)
        labels = ids % max(len(self.class_names), 1)
        codes = self._model.sample_codes(labels, 0, ids, self._options)
        return to_rgb(to_uint8(self._model.decode(codes))), labels

    def read(self, first, count):
        starts = range(first, first + count, self._batch_size)
        images, labels = zip(*map(self._draw, starts), strict=True)
        images, labels = np.concatenate(images), np.concatenate(labels)
        return images[:count], labels[:count].astype("int32")


def open_autoencoder(text: str, flag: str = "reconstruct") -> load.Autoencoder:
    """The autoencoder that `run:DIR` or `saved_model:DIR` names.

    Raises:
        UserError: If there is none.
    """
    kind, _, path = text.partition(":")
    if kind not in ("run", "saved_model") or not path:
        raise UserError(
            f"--{flag}: expected run:DIR or saved_model:DIR. Received: {text}"
        )
    return load.Autoencoder(_find("autoencoder", text, flag))


def _find(name, text, flag):
    """Path of the SavedModel that `run:DIR` or `saved_model:DIR` names."""
    kind, _, path = text.partition(":")
    path = os.path.expanduser(path)
    run_dir, saved_model = (path, None) if kind == "run" else (None, path)
    return load.find(name, run_dir, saved_model, f"--{flag}={text}")


def reconstruction(
    model: load.Autoencoder, levels: Collection[str] | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """A function of images `[B, H, W, 3]` uint8 to their reconstructions.

    Args:
        model: The autoencoder.
        levels: Names of the levels that are decoded; None for all.
    """
    levels = model.levels if levels is None else levels

    def reconstruct(images):
        if model.channels == 1 and (images != images[..., :1]).any():
            raise UserError(
                "expected grey images, as the autoencoder's are. Received: "
                "images of colours"
            )
        pixels = images[..., : model.channels].astype("float32") / 127.5 - 1.0
        codes = model.encode(pixels)
        return to_rgb(to_uint8(model.decode_levels(codes, levels)))

    return reconstruct


def _digest(data):
    data = data.encode() if isinstance(data, str) else data
    return hashlib.sha256(data).hexdigest()[:16]

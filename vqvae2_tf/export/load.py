"""A run's SavedModels, loaded for use from NumPy. Needs no Keras."""

import contextlib
import json
import os
import tempfile
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vqvae2_tf import flags
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.export.compiled_sampler import compile_sampler
from vqvae2_tf.level import Level


def find(
    name: str,
    run_dir: str | None,
    saved_model: str | None,
    given: str | None = None,
) -> str:
    """Path of a SavedModel.

    Args:
        name: `autoencoder` or `generator`.
        run_dir: Folder of a run (`--run_dir`), or None.
        saved_model: The SavedModel itself (`--saved_model`), or None.
        given: The flag and its value, if it is neither of the two.

    Raises:
        UserError: If there is none, or not exactly one of both is given.
    """
    if (run_dir is None) == (saved_model is None):
        raise UserError("expected either --run_dir or --saved_model.")
    path = saved_model or os.path.join(run_dir, "saved_models", name)
    if run_dir and not tf.io.gfile.exists(run_dir):
        flag = given or f"--run_dir={run_dir}"
        raise UserError(f"{flag}: there is no such folder.")
    if not tf.io.gfile.exists(os.path.join(path, "saved_model.pb")):
        flag = f"--run_dir={run_dir}" if run_dir else f"--saved_model={path}"
        raise UserError(
            f"{given or flag}: there is no SavedModel in {path}; a run writes "
            "it at its end."
        )
    return path


@contextlib.contextmanager
def without_wildcards(path: str) -> Iterator[str]:
    """A path by which TensorFlow finds the variables of a SavedModel.

    It takes the folder's name for a pattern, in which brackets and backslashes
    do not stand for themselves. Then the path is that of a link.
    """
    wildcards = "[" if os.sep == "\\" else "[\\"
    if not set(path) & set(wildcards) or not os.path.isdir(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = os.path.join(folder, "saved_model")
        os.symlink(os.path.abspath(path), link, target_is_directory=True)
        yield link


def load_decoder(path: str, levels: Sequence[Level]) -> tf.Module:
    """A SavedModel whose function `decode` makes images of codes.

    It takes a map a level, coarsest first, `[B, h, w]` int32 with any B, and
    gives `[B, H, W, C]` float32 in [-1, 1], C 1 or 3: as the autoencoders'
    SavedModels do.

    Args:
        path: Path of the SavedModel.
        levels: Levels of the codes, coarsest first.

    Raises:
        UserError: If it cannot be loaded, or has no such function.
    """
    try:
        with without_wildcards(path) as plain:
            loaded = tf.saved_model.load(plain)
    except Exception as error:  # Damage raises any of many types.
        raise UserError(
            f"--decoder={path} cannot be loaded: {one_line(error)}"
        ) from error
    expected = " and ".join(f"[B, {x.height}, {x.width}]" for x in levels)
    expected = (
        f"--decoder={path}: expected a function `decode` of int32 maps "
        f"{expected} that gives images [B, H, W, 1 or 3] float32"
    )
    if not hasattr(loaded, "decode"):
        raise UserError(f"{expected}. Received: a SavedModel without it")
    specs = [tf.TensorSpec((None, *x.shape), x.dtype) for x in levels]
    # Traced for any B, as one that takes a single B would pass otherwise.
    decode = tf.function(lambda *maps: loaded.decode(*maps), specs)
    try:
        images = decode(*(tf.zeros((2, *x.shape), x.dtype) for x in levels))
        found = f"{images.dtype.name} {tuple(images.shape)} of two images"
    except Exception as error:  # Its own, of any type.
        raise UserError(f"{expected}. Received: {one_line(error)}") from error
    sound = images.dtype == tf.float32 and len(images.shape) == 4
    if not sound or images.shape[0] != 2 or images.shape[3] not in (1, 3):
        raise UserError(f"{expected}. Received: {found}")
    return loaded


class _Loaded:
    """What both SavedModels have.

    Attributes:
        levels: `Level`s by their names, coarsest first.
        fingerprint: 16 hex digits that identify a set of weights.
    """

    _ENDPOINTS = ()

    def __init__(self, path):
        try:
            with without_wildcards(path) as plain:
                self._model = tf.saved_model.load(plain)
            fingerprint = tf.saved_model.experimental.read_fingerprint(path)
        except Exception as error:  # Damage raises any of many types.
            raise UserError(
                f"{path} cannot be loaded: {one_line(error)}"
            ) from error
        missing = [n for n in self._ENDPOINTS if not hasattr(self._model, n)]
        if missing:
            raise UserError(
                f"{path} has no {' and no '.join(missing)}: it is another "
                "model, or of an earlier version (`vqvae2 export` writes a "
                "run's models)."
            )
        levels = json.loads(self._model.levels().numpy())
        self.levels = {level["name"]: Level.of(level) for level in levels}
        self.fingerprint = f"{fingerprint.checkpoint_hash:016x}"

    def decode(self, codes: Mapping[str, np.ndarray]) -> np.ndarray:
        """Images of codes.

        Args:
            codes: `{"<level>": [B, h, w] int32}`, -1 where not known.

        Returns:
            `[B, H, W, C]` float32 in [-1, 1].
        """
        maps = [
            tf.constant(codes[name], level.dtype)
            for name, level in self.levels.items()
        ]
        return self._model.decode(*maps).numpy()

    def decode_levels(
        self, codes: Mapping[str, np.ndarray], names: Collection[str]
    ) -> np.ndarray:
        """Images of some of the levels, the others left out; see `decode`."""
        hidden = {
            name: np.full_like(codes[name], level.unknown)
            for name, level in self.levels.items()
            if name not in names
        }
        return self.decode({**codes, **hidden})


class Autoencoder(_Loaded):
    """The SavedModel of `export_autoencoder`.

    Args:
        path: Path of the SavedModel.

    Attributes:
        image_size: `(height, width)`.
        channels: Channels of the images.
        codebooks: `{"<level>": [K, D] float32}`, coarsest first; empty
            without codebooks.

    Raises:
        UserError: If it is another SavedModel, or damaged.
    """

    _ENDPOINTS = ("encode", "decode", "levels")

    def __init__(self, path):
        super().__init__(path)
        encode = self._model.encode.concrete_functions[0]
        (images,) = encode.structured_input_signature[0]
        *self.image_size, self.channels = images.shape[1:]
        found = getattr(self._model, "codebooks", dict)()
        self.codebooks = {
            name: found[name].numpy() for name in self.levels if name in found
        }

    def encode(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Codes of images.

        Args:
            images: `[B, H, W, C]` float32 in [-1, 1].

        Returns:
            `{"<level>": [B, h, w] int32}`, coarsest first.
        """
        codes = self._model.encode(tf.constant(images))
        return {name: codes[name].numpy() for name in self.levels}


class Generator(_Loaded):
    """The SavedModel of `export_generator`.

    Args:
        path: Path of the SavedModel.

    Attributes:
        class_names: Names of the classes; empty without classes.
        sampling_flags: `Flag`s of the sampling options.

    Raises:
        UserError: If it is another SavedModel, or damaged.
    """

    _ENDPOINTS = ("sample_codes", "decode", "levels", "options", "class_names")

    def __init__(self, path):
        super().__init__(path)
        self._path = path
        names = self._model.class_names().numpy()
        self.class_names = [name.decode() for name in names]
        self.sampling_flags = [
            flags.Flag(**option, per_level=True, role=flags.SAMPLES)
            for option in json.loads(self._model.options().numpy())
        ]

        def draw(batch, seed, options):
            labels, sample_ids = batch
            return self._model.sample_codes(labels, seed, sample_ids, options)

        def complete(batch, seed, options):
            labels, sample_ids, known = batch
            return self._model.complete_codes(
                labels, seed, sample_ids, options, known
            )

        self._draw = compile_sampler(draw)
        self._complete = compile_sampler(complete)

    def options_of(self, values: Mapping[str, Any]) -> dict[str, list]:
        """Every sampling option, one value a level.

        Args:
            values: By name, such as a run's flags; an option that is not among
                them has its default.

        Raises:
            UserError: If an option has values for other levels.
        """
        return {
            flag.name: flag.spread(
                values.get(flag.name, flag.default), list(self.levels)
            )
            for flag in self.sampling_flags
        }

    def sample_codes(
        self,
        labels: np.ndarray,
        seed: int,
        sample_ids: np.ndarray,
        options: Mapping[str, list[float | str]],
        known: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Draws codes; compiles at the first batch of a size.

        Args:
            labels: `[B]`, a class for each sample.
            seed: With a sample's number it fixes the sample.
            sample_ids: `[B]`, the samples' numbers.
            options: Every sampling option by name: one number or choice, or
                one a level, coarsest first.
            known: `{"<level>": [B, h, w]}`, codes that are kept, -1 where they
                are to be drawn; levels that are not in it are drawn.

        Returns:
            `{"<level>": [B, h, w] int32}`, coarsest first.

        Raises:
            ValueError: If a label, an option or a code is out of range, or B
                is 0.
            UserError: If codes are known and the SavedModel is of a version
                that cannot keep any.
        """
        # XLA leaves out the SavedModel's own checks.
        most = len(self.class_names) - 1 if self.class_names else None
        lowest = 0 if self.class_names else None
        flags.Flag("labels", 0, "Classes.", lowest, most).check_all(labels)
        tensors = {}
        for flag in self.sampling_flags:
            values = flag.to_numbers(options[flag.name])
            flag = flag.numbered()
            flag.check_all(values)
            flag.spread(values, list(self.levels))
            tensors[flag.name] = tf.constant(values, flag.dtype)
        batch = tf.constant(labels, tf.int32), tf.constant(sample_ids, tf.int32)
        seed = tf.constant(seed, tf.int32)
        if known is None:
            codes = self._draw(batch, seed, tensors)
        else:
            batch = (*batch, self._known(known, len(labels)))
            codes = self._complete(batch, seed, tensors)
        return {name: codes[name].numpy() for name in self.levels}

    def _known(self, known, batch_size):
        """Maps of all levels, unknown where none are given."""
        if not hasattr(self._model, "complete_codes"):
            raise UserError(
                f"{self._path} has no complete_codes, which keeps known codes: "
                "it is of an earlier version (`vqvae2 export` writes a run's "
                "models)."
            )
        maps = {}
        for name, level in self.levels.items():
            given = known.get(name)
            if given is None:
                given = np.full((batch_size, *level.shape), level.unknown)
            elif level.num_codes:
                level.codes().check_all(given)
            maps[name] = tf.constant(given, level.dtype)
        return maps

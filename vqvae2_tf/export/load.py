"""A run's SavedModels, loaded for use from NumPy. Needs no Keras."""

import os

import numpy as np
import tensorflow as tf

from vqvae2_tf.errors import UserError
from vqvae2_tf.export.compiled_sampler import compile_sampler


def find(name: str, run_dir: str | None, saved_model: str | None) -> str:
    """Path of a SavedModel.

    Args:
        name: `autoencoder` or `generator`.
        run_dir: Folder of a run (`--run_dir`), or None.
        saved_model: The SavedModel itself (`--saved_model`), if not.

    Raises:
        UserError: If there is none.
    """
    path = saved_model
    flag = f"--saved_model={saved_model}"
    if run_dir:
        path = os.path.join(run_dir, "saved_models", name)
        flag = f"--run_dir={run_dir}"
    path = os.path.expanduser(path)
    if not tf.io.gfile.exists(os.path.join(path, "saved_model.pb")):
        raise UserError(
            f"{flag}: there is no SavedModel in {path}; a run writes it at "
            "its end."
        )
    return path


class _Loaded:
    """What both SavedModels have.

    Attributes:
        map_sizes: `{"<level>": (h, w)}`, coarsest first.
        fingerprint: 16 hex digits that tell one set of weights from another.
    """

    _ENDPOINTS = ()

    def __init__(self, path):
        try:
            self._model = tf.saved_model.load(path)
            fingerprint = tf.saved_model.experimental.read_fingerprint(path)
        except Exception as error:  # Of any kind, as the damage is.
            reason = " ".join(str(error).split())
            raise UserError(f"{path} cannot be loaded: {reason}") from error
        missing = [n for n in self._ENDPOINTS if not hasattr(self._model, n)]
        if missing:
            raise UserError(
                f"{path} has no {' and no '.join(missing)}: it is another "
                "model, or of an earlier version. To export a run anew, remove "
                "its saved_models and start its training again."
            )
        self.map_sizes = {
            spec.name: tuple(spec.shape[1:])
            for spec in _arguments(self._model.decode)
        }
        self.fingerprint = f"{fingerprint.checkpoint_hash:016x}"

    def decode(self, codes: dict[str, np.ndarray]) -> np.ndarray:
        """Pictures of codes.

        Args:
            codes: `{"<level>": [B, h, w] int32}`, -1 where not known.

        Returns:
            `[B, H, W, C]` float32 in [-1, 1].
        """
        maps = [tf.constant(codes[name], tf.int32) for name in self.map_sizes]
        return self._model.decode(*maps).numpy()


class Autoencoder(_Loaded):
    """The SavedModel of `export_autoencoder`.

    Args:
        path: Of the SavedModel.

    Attributes:
        image_size: `(height, width)`.
        channels: Of the pictures.
        codebooks: `{"<level>": [K, D] float32}`, coarsest first.

    Raises:
        UserError: If it is another SavedModel, or damaged.
    """

    _ENDPOINTS = ("encode", "decode", "codebooks")

    def __init__(self, path):
        super().__init__(path)
        (images,) = _arguments(self._model.encode)
        *self.image_size, self.channels = images.shape[1:]
        found = self._model.codebooks()
        self.codebooks = {name: found[name].numpy() for name in self.map_sizes}
        self.num_codes = len(self.codebooks["top"])

    def encode(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Codes of pictures.

        Args:
            images: `[B, H, W, C]` float32 in [-1, 1].

        Returns:
            `{"<level>": [B, h, w] int32}`, coarsest first.
        """
        codes = self._model.encode(tf.constant(images))
        return {name: codes[name].numpy() for name in self.map_sizes}


class Generator(_Loaded):
    """The SavedModel of `export_generator`.

    Args:
        path: Of the SavedModel.

    Attributes:
        class_names: Names of the classes; empty without classes.

    Raises:
        UserError: If it is another SavedModel, or damaged.
    """

    _ENDPOINTS = ("sample_codes", "decode", "class_names")

    def __init__(self, path):
        super().__init__(path)
        names = self._model.class_names().numpy()
        self.class_names = [name.decode() for name in names]
        sample_codes = self._model.sample_codes

        def draw(batch, temperatures, seed, top_ks, top_ps):
            labels, images = batch
            return sample_codes(
                labels, temperatures, seed, images, top_ks, top_ps
            )

        self._draw = compile_sampler(draw)

    def sample_codes(
        self,
        labels: np.ndarray,
        temperatures: list[float],
        seed: int,
        images: np.ndarray,
        top_ks: list[int],
        top_ps: list[float],
    ) -> dict[str, np.ndarray]:
        """Draws codes. The first batch of a size is compiled before.

        Args:
            labels: `[B]`, a class for each picture.
            temperatures: One, or one a level, coarsest first.
            seed: With an image's number it fixes the image.
            images: `[B]`, the images' numbers.
            top_ks: As temperatures; see `sampling.sample`.
            top_ps: As temperatures; see `sampling.sample`.

        Returns:
            `{"<level>": [B, h, w] int32}`, coarsest first.
        """
        codes = self._draw(
            (tf.constant(labels, tf.int32), tf.constant(images, tf.int32)),
            tf.constant(temperatures, tf.float32),
            tf.constant(seed, tf.int32),
            tf.constant(top_ks, tf.int32),
            tf.constant(top_ps, tf.float32),
        )
        return {name: codes[name].numpy() for name in self.map_sizes}


def _arguments(function):
    """Specifications of the arguments of an endpoint."""
    return function.concrete_functions[0].structured_input_signature[0]

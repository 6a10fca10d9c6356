"""What learned perceptual distances have in common (Zhang et al. 2018)."""

import abc
import hashlib
from collections.abc import Mapping
from typing import ClassVar

import keras
import numpy as np
from keras import layers
from keras import ops

from vqvae2_tf.errors import UserError

# Of images in [-1, 1], which ImageNet's means and deviations become.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_STAGES = 5


class PerceptualDistance(abc.ABC):
    """Weighted squared differences of a trunk's activations.

    At each of five stages the channels of a position are normalized to length
    1, their squared differences are weighted by a learned vector, and averaged
    over the positions (equation 1 of Zhang et al.); the stages are added.

    Args:
        arrays: Weights of the trunk and of the stages, by the names of the
            published state dicts.

    Attributes:
        name: Name of the distance.
        published_files: How the SHA-256s of the published files begin, a tuple
            for each of the files.
        weights_hash: SHA-256 of the weights in use.
        is_official: Whether they are the published ones.

    Raises:
        UserError: If weights are missing, or have other shapes.
    """

    name: ClassVar[str]
    published_files: ClassVar[tuple[tuple[str, ...], ...]]
    # Of smaller images the last stage is empty.
    smallest = 32
    is_official = False

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self._arrays = arrays
        digest = hashlib.sha256()
        for name in sorted(arrays):
            digest.update(f"{name}{arrays[name].shape}".encode())
            digest.update(np.ascontiguousarray(arrays[name], "<f4"))
        self.weights_hash = digest.hexdigest()
        self._models = {}

    @classmethod
    def default_weights(cls) -> list[str]:
        """Paths of the weights if none is given.

        Raises:
            UserError: If there are none.
        """
        raise UserError(
            f"--perceptual={cls.name} needs --perceptual_weights=TRUNK,LINEAR."
        )

    @abc.abstractmethod
    def stages(self, x) -> list:
        """Activations at the five stages.

        Args:
            x: `[B, H, W, 3]` float32, scaled.
        """

    def convolve(self, x, name: str, stride: int = 1, padding: int = 0):
        """A convolution with a state dict's weights, and ReLU."""
        kernel, bias = (self._find(f"{name}.{p}") for p in ("weight", "bias"))
        convolution = layers.Conv2D(kernel.shape[0], kernel.shape[2:], stride)
        x = layers.ZeroPadding2D(padding)(x)
        y = convolution(x)
        try:
            convolution.set_weights([np.transpose(kernel, (2, 3, 1, 0)), bias])
        except ValueError as error:
            raise UserError(
                f"--perceptual_weights: expected those of {self.name}. "
                f"Received: {name}.weight of shape {kernel.shape}"
            ) from error
        return y

    def __call__(self, images: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Distances of pairs of images; compiles at the first of a shape.

        Args:
            images: `[B, H, W, 3]` uint8.
            others: As `images`.

        Returns:
            `[B]` float32, 0 for equal images.
        """
        size = images.shape[1:3]
        if min(size) < self.smallest:
            raise UserError(
                f"--perceptual={self.name}: expected images of at least "
                f"{self.smallest} pixels. Received: {size[0]}x{size[1]}"
            )
        if size not in self._models:
            self._models[size] = self._model(size)
        return self._models[size].predict_on_batch([images, others])

    def _model(self, size):
        scaled = keras.Input((*size, 3))
        trunk = keras.Model(scaled, self.stages(scaled))
        pair = [keras.Input((*size, 3), dtype="uint8") for _ in range(2)]
        distance = 0.0
        both = [trunk(self._scaled(images)) for images in pair]
        for i, (x, y) in enumerate(zip(*both, strict=True)):
            weights = self._find(f"lin{i}.model.1.weight").reshape(-1)
            squares = ops.square(_normalized(x) - _normalized(y))
            weighted = ops.sum(squares * weights, axis=-1)
            distance += ops.mean(weighted, axis=(1, 2))
        model = keras.Model(pair, distance)
        model.jit_compile = keras.backend.backend() == "jax"
        return model

    @staticmethod
    def _scaled(images):
        pixels = ops.cast(images, "float32") / 127.5 - 1.0
        return (pixels - np.array(_SHIFT, "float32")) / np.array(
            _SCALE, "float32"
        )

    def _find(self, name):
        if name not in self._arrays:
            raise UserError(
                f"--perceptual_weights: expected those of {self.name}, with "
                f"{name} among them. Received: {len(self._arrays)} others"
            )
        return self._arrays[name]


def _normalized(x):
    length = ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True))
    return x / (length + 1e-10)

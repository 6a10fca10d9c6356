"""What every feature network has: a row of features for each image."""

import abc
import hashlib
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import ClassVar

import keras
import numpy as np

from vqvae2_tf.errors import UserError


class FeatureNetwork(abc.ABC):
    """A pretrained network that turns images into features.

    Args:
        arrays: The weights by the names that their file has.

    Attributes:
        name: Name of the network.
        input_size: Height and width that images are resized to.
        resize: Function of images and this size; see `resizing`.
        layer: What the features are the output of.
        dims: Number of features, D.
        classes: Number of logits, C; 0 without.
        official_files: SHA-256 of each published file of the weights.
        weights_hash: SHA-256 of the weights in use, whatever file had them.
        is_official: Whether they were read from one of `official_files`.

    Raises:
        UserError: If weights are missing, or have other shapes.
    """

    name: ClassVar[str]
    input_size: ClassVar[int]
    resize: ClassVar[Callable[[Any, int], Any]]
    layer: ClassVar[str]
    dims: ClassVar[int]
    classes: ClassVar[int] = 0
    official_files: ClassVar[tuple[str, ...]] = ()
    is_official = False

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        images = keras.Input((self.input_size, self.input_size, 3))
        self._trunk = keras.Model(images, self.connect(images))
        for layer, values in self.weights_of(arrays):
            shapes = [tuple(v.shape) for v in layer.weights]
            if shapes != [value.shape for value in values]:
                raise UserError(
                    f"--weights: expected weights of {self.name}, whose layer "
                    f"{layer.name} has the shapes {shapes}. Received: "
                    f"{[value.shape for value in values]}"
                )
            layer.set_weights(values)
        self.weights_hash = _digest(self._trunk.get_weights())
        self._models = {}

    @classmethod
    def default_weights(cls) -> str:
        """Path of the weights if none is given.

        Raises:
            UserError: If there are none.
        """
        raise UserError(f"--network={cls.name} needs --weights=PATH.")

    @abc.abstractmethod
    def connect(self, images):
        """Connects the layers.

        Args:
            images: `[B, S, S, 3]` float32 in [0, 255], symbolic.

        Returns:
            dict of `features` `[B, D]`, and of `logits` `[B, C]` if there are.
        """

    @abc.abstractmethod
    def weights_of(self, arrays: Mapping[str, np.ndarray]):
        """Yields each layer and the list of its weights.

        Args:
            arrays: The constructor's.
        """

    def find(self, arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        """One of the weights.

        Raises:
            UserError: If it is missing.
        """
        if name not in arrays:
            raise UserError(
                f"--weights: expected weights of {self.name}, with {name} "
                f"among them. Received: {len(arrays)} others"
            )
        return arrays[name]

    def card(self) -> dict[str, str | bool]:
        """What makes features comparable, as JSON."""
        return {
            "network": self.name,
            "weights": self.weights_hash,
            "official_weights": self.is_official,
            "resize": f"{self.resize.__name__}_{self.input_size}",
            "layer": self.layer,
        }

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Features of images; compiles at the first batch of a shape.

        Args:
            images: `[B, H, W, 3]` uint8.

        Returns:
            dict of `features` `[B, D]` float32, and of `logits` `[B, C]`
            float32 if the network has them.
        """
        size = images.shape[1:3]
        if size not in self._models:
            self._models[size] = self._with_resizing(size)
        return self._models[size].predict_on_batch(images)

    def _with_resizing(self, size):
        images = keras.Input((*size, 3), dtype="uint8")
        resized = type(self).resize(images, self.input_size)
        model = keras.Model(images, self._trunk(resized))
        # Of TensorFlow on CPUs, XLA takes longer to compile than it saves.
        model.jit_compile = keras.backend.backend() == "jax"
        return model


def _digest(weights):
    digest = hashlib.sha256()
    for value in weights:
        digest.update(repr(value.shape).encode())
        digest.update(np.ascontiguousarray(value, "<f4"))
    return digest.hexdigest()

"""VGG-16 of Keras Applications: the network of improved precision and recall.

Its second fully connected layer, 4,096 features after the ReLU, as Kynkäänniemi
et al. 2019 (section 3) take it (Simonyan and Zisserman 2014 for the network).
"""

import keras
import numpy as np
from keras import layers

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.evaluation.networks import resizing
from vqvae2_tf.evaluation.networks.base import FeatureNetwork

_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels.h5"
_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{_FILE}"
_MEANS = np.array([103.939, 116.779, 123.68], "float32")


class VGG16(FeatureNetwork):
    """VGG-16 with the weights of Keras Applications.

    Args:
        arrays: Weights by their paths in the published HDF5 file.
    """

    name = "vgg16"
    input_size = 224
    resize = staticmethod(resizing.bicubic)
    layer = "fc2"
    dims = 4096
    classes = 1000

    # Convolutions of each block, and their width.
    _blocks = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
    _width = 4096

    @classmethod
    def default_weights(cls):
        try:
            return keras.utils.get_file(
                _FILE,
                _URL,
                cache_subdir="models",
                file_hash="64373286793e3c8b2b4e3219cbf3544b",
            )
        except Exception as error:  # No network has many faces.
            raise UserError(
                f"--network=vgg16: {_FILE} is not in Keras' cache and could "
                f"not be downloaded ({one_line(error)}); name it by --weights."
            ) from error

    def connect(self, images):
        self._layers = []
        x = images[..., ::-1] - _MEANS
        for i, (count, width) in enumerate(self._blocks, 1):
            for j in range(1, count + 1):
                name = f"block{i}_conv{j}"
                layer = layers.Conv2D(
                    width, 3, padding="same", activation="relu", name=name
                )
                self._layers.append(layer)
                x = layer(x)
            x = layers.MaxPooling2D(2)(x)
        x = layers.Flatten()(x)
        for name, width, activation in (
            ("fc1", self._width, "relu"),
            ("fc2", self._width, "relu"),
            ("predictions", self.classes, None),
        ):
            layer = layers.Dense(width, activation, name=name)
            features, x = x, layer(x)
            self._layers.append(layer)
        return {"features": features, "logits": x}

    def weights_of(self, arrays):
        for layer in self._layers:
            own = [
                a for path, a in arrays.items() if layer.name in path.split("/")
            ]
            yield layer, sorted(own, key=lambda value: -value.ndim)


Model = VGG16

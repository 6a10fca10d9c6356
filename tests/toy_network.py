"""A feature network of a user's own, which needs no pretrained weights."""

import numpy as np
from keras import layers

from vqvae2_tf.evaluation.networks import resizing
from vqvae2_tf.evaluation.networks.base import FeatureNetwork


class ToyNetwork(FeatureNetwork):
    """Means of the channels, times a matrix."""

    name = "toy"
    input_size = 4
    resize = staticmethod(resizing.bilinear_tf1)
    layer = "product"
    dims = 5
    classes = 5

    @classmethod
    def default_weights(cls):
        return "toy.pth"

    def connect(self, images):
        self._dense = layers.Dense(self.dims, use_bias=False)
        features = self._dense(layers.GlobalAveragePooling2D()(images))
        return {"features": features, "logits": 2.0 * features}

    def weights_of(self, arrays):
        yield self._dense, [np.asarray(self.find(arrays, "kernel"))]


Model = ToyNetwork

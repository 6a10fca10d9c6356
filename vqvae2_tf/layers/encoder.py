"""Convolutional encoder of one level."""

import keras
from keras import ops

from vqvae2_tf.layers.residual_stack import ResidualStack
from vqvae2_tf.layers.upsampler import num_halvings


@keras.saving.register_keras_serializable("vqvae2_tf")
class Encoder(keras.layers.Layer):
    """Downsamples, then a residual stack (VQ-VAE-2, supplement A.3).

    4x4 stride-2 convolutions with ReLU, of `hidden_units // 2` for the first
    and `hidden_units` after it; a 3x3 convolution; a residual stack.

    Args:
        stride: Factor by which height and width shrink, a power of two.
        hidden_units: Width of the features.
        residual_units: Inner width of the residual stack.
        num_residual_layers: Layers of the residual stack.

    Call arguments:
        x: `[B, H, W, C]` float; `stride` divides H and W.

    Returns:
        `[B, H / stride, W / stride, hidden_units]` float.
    """

    def __init__(
        self,
        stride,
        hidden_units,
        residual_units,
        num_residual_layers,
        **kwargs,
    ):
        super().__init__(**kwargs)
        count = num_halvings(stride)
        self.stride = stride
        self.hidden_units = hidden_units
        policy = self.dtype_policy
        widths = [hidden_units // 2] + [hidden_units] * (count - 1)
        self.strided_convs = [
            keras.layers.Conv2D(width, 4, 2, padding="same", dtype=policy)
            for width in widths
        ]
        self.conv = keras.layers.Conv2D(
            hidden_units, 3, padding="same", dtype=policy
        )
        self.residual_stack = ResidualStack(
            hidden_units, residual_units, num_residual_layers, dtype=policy
        )

    def build(self, x_shape):
        channels = x_shape[-1]
        for conv in [*self.strided_convs, self.conv]:
            conv.build((None, None, None, channels))
            channels = conv.filters
        self.residual_stack.build((None, None, None, channels))

    def call(self, x):
        for conv in self.strided_convs:
            x = ops.relu(conv(x))
        return self.residual_stack(self.conv(x))

    def compute_output_shape(self, x_shape):
        batch, height, width, _ = x_shape
        return (
            batch,
            height and height // self.stride,
            width and width // self.stride,
            self.hidden_units,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "stride": self.stride,
            "hidden_units": self.hidden_units,
            "residual_units": self.residual_stack.residual_units,
            "num_residual_layers": self.residual_stack.num_residual_layers,
        }

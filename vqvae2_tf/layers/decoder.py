"""Convolutional decoder of one level, or of the picture."""

import keras

from vqvae2_tf.layers.residual_stack import ResidualStack
from vqvae2_tf.layers.upsampler import Upsampler


@keras.saving.register_keras_serializable("vqvae2_tf")
class Decoder(keras.layers.Layer):
    """A residual stack, then upsampling: the encoder's mirror image.

    A 3x3 convolution to `hidden_units`, a residual stack, and 4x4 stride-2
    transposed convolutions (VQ-VAE-2, supplement A.3).

    Args:
        stride: Factor by which height and width grow, a power of two.
        filters: Width of the output.
        hidden_units: Width of the features.
        residual_units: Inner width of the residual stack.
        num_residual_layers: Layers of the residual stack.

    Call arguments:
        x: `[B, H, W, C]` float.

    Returns:
        `[B, H * stride, W * stride, filters]` float, not bounded.
    """

    def __init__(
        self,
        stride,
        filters,
        hidden_units,
        residual_units,
        num_residual_layers,
        **kwargs,
    ):
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.conv = keras.layers.Conv2D(
            hidden_units, 3, padding="same", dtype=policy
        )
        self.residual_stack = ResidualStack(
            hidden_units, residual_units, num_residual_layers, dtype=policy
        )
        self.upsampler = Upsampler(stride, filters, hidden_units, dtype=policy)

    def build(self, x_shape):
        self.conv.build(x_shape)
        features_shape = (*x_shape[:-1], self.conv.filters)
        self.residual_stack.build(features_shape)
        self.upsampler.build(features_shape)

    def call(self, x):
        return self.upsampler(self.residual_stack(self.conv(x)))

    def compute_output_shape(self, x_shape):
        return self.upsampler.compute_output_shape(x_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "stride": self.upsampler.stride,
            "filters": self.upsampler.filters,
            "hidden_units": self.upsampler.hidden_units,
            "residual_units": self.residual_stack.residual_units,
            "num_residual_layers": self.residual_stack.num_residual_layers,
        }

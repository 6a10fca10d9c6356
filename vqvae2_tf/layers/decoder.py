"""Convolutional decoder of one level, or of the image."""

import keras

from vqvae2_tf.layers.biased import Conv2D
from vqvae2_tf.layers.residual_stack import ResidualStack
from vqvae2_tf.layers.upsampler import Upsampler


@keras.saving.register_keras_serializable("vqvae2_tf")
class Decoder(keras.layers.Layer):
    """A residual stack, then upsampling: the encoder's mirror image.

    A 3x3 convolution to `hidden_units`, a residual stack, and an `Upsampler`
    (VQ-VAE-2, supplement A.3).

    Args:
        stride: Factor by which height and width grow, a power of two.
        filters: Width of the output.
        hidden_units: Width of the features.
        residual_units: Inner width of the residual stack.
        residual_layers: Layers of the residual stack.

    Call arguments:
        x: `[B, H, W, C]` float.

    Returns:
        `[B, H * stride, W * stride, filters]` float, not bounded.

    Raises:
        ValueError: If `stride` is not a power of two.
    """

    def __init__(
        self,
        stride,
        filters,
        hidden_units,
        residual_units,
        residual_layers,
        **kwargs,
    ):
        super().__init__(**kwargs)
        policy = self.dtype_policy.name
        self.conv = Conv2D(hidden_units, 3, padding="same", dtype=policy)
        self.residual_stack = ResidualStack(
            hidden_units, residual_units, residual_layers, dtype=policy
        )
        self.upsampler = Upsampler(stride, filters, hidden_units, dtype=policy)

    def build(self, x_shape):
        self.compute_output_spec(keras.KerasTensor(x_shape, self.compute_dtype))

    def call(self, x):
        return self.upsampler(self.residual_stack(self.conv(x)))

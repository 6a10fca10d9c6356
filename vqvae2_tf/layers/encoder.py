"""Convolutional encoder of one level."""

import keras
from keras import ops

from vqvae2_tf.layers.biased import Conv2D
from vqvae2_tf.layers.residual_stack import ResidualStack
from vqvae2_tf.layers.upsampler import num_halvings


@keras.saving.register_keras_serializable("vqvae2_tf")
class Encoder(keras.layers.Layer):
    """Downsampling, then a residual stack (VQ-VAE-2, supplement A.3).

    4x4 stride-2 convolutions with ReLU, the first of width `hidden_units // 2`
    and the others of `hidden_units`; a 3x3 convolution; a residual stack.

    Args:
        stride: Factor by which height and width shrink, a power of two.
        hidden_units: Width of the features.
        residual_units: Inner width of the residual stack.
        residual_layers: Layers of the residual stack.

    Call arguments:
        x: `[B, H, W, C]` float; `stride` divides H and W.

    Returns:
        `[B, H / stride, W / stride, hidden_units]` float.

    Raises:
        ValueError: If `stride` is not a power of two.
    """

    def __init__(
        self, stride, hidden_units, residual_units, residual_layers, **kwargs
    ):
        super().__init__(**kwargs)
        policy = self.dtype_policy.name
        count = num_halvings(stride)
        widths = [hidden_units // 2] + [hidden_units] * count
        self.strided_convs = [
            Conv2D(width, 4, 2, padding="same", dtype=policy)
            for width in widths[:count]
        ]
        self.conv = Conv2D(hidden_units, 3, padding="same", dtype=policy)
        self.residual_stack = ResidualStack(
            hidden_units, residual_units, residual_layers, dtype=policy
        )

    def build(self, x_shape):
        self.compute_output_spec(keras.KerasTensor(x_shape, self.compute_dtype))

    def call(self, x):
        for conv in self.strided_convs:
            x = ops.relu(conv(x))
        return self.residual_stack(self.conv(x))

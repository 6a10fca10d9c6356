"""Decoder of one scale's contribution to an image."""

import keras
from keras import ops

from vqvae2_tf.layers.biased import Conv2D
from vqvae2_tf.layers.residual_stack import ResidualStack
from vqvae2_tf.layers.upsampler import num_halvings
from vqvae2_tf.layers.upsampling_conv import UpsamplingConv

_LEAST_UNITS = 8


@keras.saving.register_keras_serializable("vqvae2_tf")
class ContributionDecoder(keras.layers.Layer):
    """From a scale's codewords to pixels (MS-VQVAE, section 3.2).

    A 3x3 convolution, a residual stack, and 4x4 stride-2 transposed
    convolutions with ReLU between them, each of half the width of the one
    before (at least 8). The map on the way is what the next scale is told.

    Args:
        stride: Factor up to the image's size, a power of two from 2 on.
        next_stride: Factor up to the next scale's size, a power of two that
            divides `stride`; 1 for the finest scale, which has no next one.
        filters: Width of the output.
        hidden_units: Width of the residual stack; its inner width is half.
        residual_layers: Layers of the residual stack.

    Call arguments:
        x: `[B, H, W, C]` float.

    Returns:
        Tuple of float maps: the one on the way, `[B, H * next_stride, W *
        next_stride, ...]`, and the contribution, `[B, H * stride, W * stride,
        filters]`, not bounded.

    Raises:
        ValueError: If a stride is not such a number.
    """

    def __init__(
        self,
        stride,
        next_stride,
        filters,
        hidden_units,
        residual_layers,
        **kwargs,
    ):
        super().__init__(**kwargs)
        policy = self.dtype_policy.name
        self.conv = Conv2D(hidden_units, 3, padding="same", dtype=policy)
        self.residual_stack = ResidualStack(
            hidden_units, hidden_units // 2, residual_layers, dtype=policy
        )
        count = num_halvings(stride)
        if stride < 2 or stride % next_stride:
            raise ValueError(
                "`stride` must be at least 2, and `next_stride` divide it. "
                f"Received: {stride}, {next_stride}"
            )
        self._steps_to_next = num_halvings(next_stride)
        widths = [
            max(hidden_units >> (i + 1), _LEAST_UNITS) for i in range(count - 1)
        ]
        self.upsampling_convs = [
            UpsamplingConv(width, dtype=policy) for width in [*widths, filters]
        ]

    def build(self, x_shape):
        self.compute_output_spec(keras.KerasTensor(x_shape, self.compute_dtype))

    def call(self, x):
        x = on_the_way = self.residual_stack(self.conv(x))
        for i, conv in enumerate(self.upsampling_convs, start=1):
            x = conv(x)
            if i < len(self.upsampling_convs):
                x = ops.relu(x)
            if i == self._steps_to_next:
                on_the_way = x
        return on_the_way, x

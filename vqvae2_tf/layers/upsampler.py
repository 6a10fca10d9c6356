"""Upsampling by transposed convolutions."""

import keras
from keras import ops

from vqvae2_tf.layers.biased import Conv2D
from vqvae2_tf.layers.upsampling_conv import UpsamplingConv


def num_halvings(stride: int, name: str = "strides") -> int:
    """log2 of a stride.

    Args:
        stride: A power of two.
        name: What the error calls it.

    Raises:
        ValueError: If `stride` is not 1, 2, 4, 8, ...
    """
    if stride < 1 or stride & (stride - 1):
        raise ValueError(f"`{name}` must be powers of two. Received: {stride}")
    return stride.bit_length() - 1


@keras.saving.register_keras_serializable("vqvae2_tf")
class Upsampler(keras.layers.Layer):
    """4x4 stride-2 transposed convolutions with ReLU between them.

    Filter size 4 is the 'upsampling conv filter size' of table 3 of the
    supplement. Stride 1 is a single 1x1 convolution.

    Args:
        stride: Factor by which height and width grow, a power of two.
        filters: Width of the output.
        hidden_units: Width between the transposed convolutions; the last but
            one has half of it, as the decoder mirrors the encoder.

    Call arguments:
        x: `[B, H, W, C]` float.

    Returns:
        `[B, H * stride, W * stride, filters]` float.

    Raises:
        ValueError: If `stride` is not a power of two.
    """

    def __init__(self, stride, filters, hidden_units, **kwargs):
        super().__init__(**kwargs)
        count = num_halvings(stride)
        self.stride = stride
        policy = self.dtype_policy.name
        if count:
            widths = [hidden_units] * (count - 2)
            widths += [hidden_units // 2] * (count > 1)
            self.convs = [
                UpsamplingConv(width, dtype=policy)
                for width in [*widths, filters]
            ]
        else:
            self.convs = [Conv2D(filters, 1, dtype=policy)]

    def build(self, x_shape):
        self.compute_output_spec(keras.KerasTensor(x_shape, self.compute_dtype))

    def call(self, x):
        for i, conv in enumerate(self.convs):
            x = conv(ops.relu(x) if i else x)
        return x

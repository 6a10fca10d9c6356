"""Upsampling by transposed convolutions."""

import keras
from keras import ops


def num_halvings(stride: int) -> int:
    """log2 of a stride.

    Raises:
        ValueError: If `stride` is not 2, 4, 8, ...
    """
    if stride < 2 or stride & (stride - 1):
        raise ValueError(
            f"A stride must be a power of two, 2 or more. Received: {stride}"
        )
    return stride.bit_length() - 1


@keras.saving.register_keras_serializable("vqvae2_tf")
class Upsampler(keras.layers.Layer):
    """4x4 stride-2 transposed convolutions with ReLU between them.

    Filter size 4 is the 'upsampling conv filter size' of table 3 of the
    supplement.

    Args:
        stride: Factor by which height and width grow, a power of two.
        filters: Width of the output.
        hidden_units: Width between the transposed convolutions; the last but
            one has half of it, as the decoder mirrors the encoder.

    Call arguments:
        x: `[B, H, W, C]` float.

    Returns:
        `[B, H * stride, W * stride, filters]` float.
    """

    def __init__(self, stride, filters, hidden_units, **kwargs):
        super().__init__(**kwargs)
        count = num_halvings(stride)
        self.stride = stride
        self.filters = filters
        self.hidden_units = hidden_units
        widths = [hidden_units] * (count - 2) + [hidden_units // 2] * (
            count > 1
        )
        self.convs = [
            keras.layers.Conv2DTranspose(
                width, 4, 2, padding="same", dtype=self.dtype_policy
            )
            for width in [*widths, filters]
        ]

    def build(self, x_shape):
        channels = x_shape[-1]
        for conv in self.convs:
            conv.build((None, None, None, channels))
            channels = conv.filters

    def call(self, x):
        for i, conv in enumerate(self.convs):
            x = conv(ops.relu(x) if i else x)
        return x

    def compute_output_shape(self, x_shape):
        batch, height, width, _ = x_shape
        return (
            batch,
            height and height * self.stride,
            width and width * self.stride,
            self.filters,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "stride": self.stride,
            "filters": self.filters,
            "hidden_units": self.hidden_units,
        }

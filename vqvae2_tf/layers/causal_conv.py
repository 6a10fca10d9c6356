"""Causal convolution by padding and slicing."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("vqvae2_tf")
class CausalConv2D(keras.layers.Layer):
    """The masked convolution of PixelCNN without masked weights.

    In raster order, the output at a position sees the (k - 1) / 2 rows above
    it at full width k, the (k - 1) / 2 positions to its left, and, unless
    `strict`, the position itself: 13 live taps at k = 5, which are all that is
    stored and multiplied (VQ-VAE-2, supplement A.2; PixelCNN's mask B, or mask
    A when `strict`). k = 1 is a plain 1x1 convolution.

    Args:
        filters: Width of the output.
        kernel_size: k, odd.
        strict: Leaves out the position itself. For the first layer of a
            network.

    Call arguments:
        x: `[B, H, W, C]` float.

    Returns:
        `[B, H, W, filters]` float.

    Raises:
        ValueError: If `kernel_size` is even, or 1 while `strict`.
    """

    def __init__(self, filters, kernel_size, strict=False, **kwargs):
        super().__init__(**kwargs)
        if kernel_size % 2 == 0 or kernel_size < (3 if strict else 1):
            raise ValueError(
                "`kernel_size` must be odd, and at least 3 if `strict`. "
                f"Received: kernel_size={kernel_size}, strict={strict}"
            )
        self.filters = filters
        self.kernel_size = kernel_size
        self.strict = strict
        self.radius = (kernel_size - 1) // 2

    def build(self, x_shape):
        channels = x_shape[-1]
        row_taps = self.radius + (not self.strict)
        taps = self.radius * self.kernel_size + row_taps

        def kernel(name, height, width):
            # Glorot's variance, as if both kernels were one.
            share = height * width / taps
            return self.add_weight(
                name=name,
                shape=(height, width, channels, self.filters),
                initializer=keras.initializers.VarianceScaling(
                    share, mode="fan_avg", distribution="uniform"
                ),
            )

        if self.radius:
            self.above_kernel = kernel(
                "above_kernel", self.radius, self.kernel_size
            )
        self.row_kernel = kernel("row_kernel", 1, row_taps)
        self.bias = self.add_weight(
            name="bias", shape=(self.filters,), initializer="zeros"
        )

    def call(self, x):
        height, width = ops.shape(x)[1], ops.shape(x)[2]
        r = self.radius
        to_the_left = ops.pad(x, [[0, 0], [0, 0], [r, 0], [0, 0]])
        if self.strict:
            to_the_left = to_the_left[:, :, : width + r - 1]
        y = ops.conv(to_the_left, self.row_kernel, padding="valid")
        if r:
            above = ops.pad(x, [[0, 0], [r, 0], [r, r], [0, 0]])
            above = above[:, : height + r - 1]
            y = y + ops.conv(above, self.above_kernel, padding="valid")
        return y + self.bias

    def compute_output_shape(self, x_shape):
        return (*x_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strict": self.strict,
        }

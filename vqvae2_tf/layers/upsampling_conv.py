"""Transposed convolution that doubles height and width."""

import keras
from keras import ops

# With fewer filters than this, a transposed convolution leaves most of a
# processor's vector units idle (docs/results.md).
_FEW_FILTERS = 8


@keras.saving.register_keras_serializable("vqvae2_tf")
class UpsamplingConv(keras.layers.Conv2DTranspose):
    """4x4 stride-2 transposed convolution, fast for few filters too.

    Pixels of even rows see other taps of the filter than those of odd rows,
    and so do columns. With few filters, such as an image's channels, the four
    cases are the outputs of one 3x3 convolution, and a depth-to-space puts
    them in their places. Weights and result are `Conv2DTranspose`'s.

    Args:
        filters: Width of the output.

    Call arguments:
        x: `[B, H, W, C]` float.

    Returns:
        `[B, 2 H, 2 W, filters]` float.
    """

    def __init__(self, filters, **kwargs):
        super().__init__(filters, 4, 2, padding="same", **kwargs)

    def get_config(self):
        return {**keras.layers.Layer.get_config(self), "filters": self.filters}

    def call(self, x):
        if self.filters >= _FEW_FILTERS:
            return super().call(x)
        outputs = ops.conv(x, self._phases(), padding="same")
        return ops.depth_to_space(outputs, 2) + self.bias

    def _phases(self):
        """The four cases' filters, `[3, 3, C, 4 * filters]`."""
        # Tap 4 is 0. An even output reads the inputs before and at its place,
        # an odd one those at and after it.
        taps = ops.array([[3, 1, 4], [4, 2, 0]])
        kernel = ops.pad(self.kernel, [[0, 1], [0, 1], [0, 0], [0, 0]])
        kernel = ops.take(ops.take(kernel, taps, axis=0), taps, axis=2)
        # From row case, row, column case, column, filter, C.
        kernel = ops.transpose(kernel, (1, 3, 5, 0, 2, 4))
        return ops.reshape(kernel, (3, 3, -1, 4 * self.filters))

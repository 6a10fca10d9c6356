"""Transposed convolution that doubles height and width."""

import keras
import numpy as np
from keras import ops

from vqvae2_tf.layers.biased import add_bias
from vqvae2_tf.layers.transposed_conv import transposed_conv

# With fewer filters than this, a transposed convolution leaves most of a
# processor's units idle (docs/results.md).
_FEW_FILTERS = 8
_PHASE_RATE = 0.3


@keras.saving.register_keras_serializable("vqvae2_tf")
class UpsamplingConv(keras.layers.Conv2DTranspose):
    """4x4 stride-2 transposed convolution, fast for few filters, without dots.

    Pixels of even and of odd rows see different taps of the filter, and so do
    columns: four phases, each a 2x2 convolution. Where the input is constant,
    the phases differ by the sums of their taps, which shows as dots in flat
    areas. The loss sees little of them, so that they stay. The sums' distances
    from their mean therefore count three tenths of what `kernel` holds: they
    begin small and change slowly (docs/results.md).

    With few filters, such as an image's channels, and without gradients the
    phases are outputs of one 3x3 convolution, and a transposition puts them in
    their places: the same to rounding.

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

    def call(self, x, training=False):
        taps = ops.reshape(self.kernel, (16, -1))
        taps = ops.matmul(ops.cast(_PHASES, taps.dtype), taps)
        kernel = ops.reshape(taps, self.kernel.shape)
        if self.filters < _FEW_FILTERS and not training:
            outputs = ops.conv(x, _as_channels(kernel), padding="same")
            # Before they are put in their places, where it is faster.
            outputs = add_bias(outputs, ops.tile(self.bias, [4]), training)
            return _in_places(outputs, self.filters)
        outputs = transposed_conv(x, kernel, 2, "same")
        return add_bias(outputs, self.bias, training)


def _phase_matrix():
    """The `[16, 16]` map of a filter's taps to those that are applied."""
    taps = np.arange(4)
    # Whether two taps are of one phase, along one axis and along both.
    along = np.equal.outer(taps % 2, taps % 2)
    distances = np.kron(along, along) / 4 - 1 / 16
    return np.eye(16) - (1 - _PHASE_RATE) * distances


_PHASES = _phase_matrix()


def _as_channels(kernel):
    """A filter `[4, 4, filters, C]` as `[3, 3, C, 4 * filters]`.

    Along each axis an even output reads the inputs before and at its place, by
    taps 3 and 1, and an odd one those at and after it, by taps 2 and 0.
    """
    taps = ops.flip(kernel, axis=(0, 1))
    taps = ops.reshape(taps, (2, 2, 2, 2, *kernel.shape[2:]))
    # The phase's axis and its taps': the third tap is 0.
    for phase, tap in ((1, 0), (3, 2)):
        parts = []
        for i, part in enumerate(ops.unstack(taps, axis=phase)):
            padding = [[0, 0]] * 5
            padding[tap] = [i, 1 - i]
            parts.append(ops.pad(part, padding))
        taps = ops.stack(parts, axis=phase)
    taps = ops.transpose(taps, (0, 2, 5, 1, 3, 4))
    return ops.reshape(taps, (*taps.shape[:3], -1))


def _in_places(phases, filters):
    """Maps `[B, H, W, 4 * filters]` as `[B, 2 H, 2 W, filters]`.

    What `depth_to_space` does, which on TensorFlow takes three times as long.
    """
    batch_size, height, width, _ = ops.shape(phases)
    rows = ops.reshape(phases, (batch_size, height, width, 2, 2 * filters))
    rows = ops.transpose(rows, (0, 1, 3, 2, 4))
    return ops.reshape(rows, (batch_size, 2 * height, 2 * width, filters))

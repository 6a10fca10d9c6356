"""Causal convolution by padding and slicing."""

import keras
from keras import ops

from vqvae2_tf.layers.biased import add_bias
from vqvae2_tf.layers.row_buffer import read_columns
from vqvae2_tf.layers.row_buffer import write_column


@keras.saving.register_keras_serializable("vqvae2_tf")
class CausalConv2D(keras.layers.Layer):
    """The masked convolution of PixelCNN without masked weights.

    In raster order, the output at a position depends on the (k - 1) / 2 rows
    above it at full width k, the (k - 1) / 2 positions to its left, and,
    unless `strict`, the position itself (VQ-VAE-2, supplement A.2; PixelCNN's
    mask B, or mask A if `strict`). Only these taps are stored and multiplied:
    13 at k = 5. k = 1 is a plain 1x1 convolution.

    Incremental calls (`initial_state`, `next_row`, `step`) convolve the rows
    above once for a whole row, so that each position costs only the taps of
    its own row. The state holds (k - 1) / 2 rows, whatever the map's height.

    Args:
        filters: Width of the output.
        kernel_size: k, odd.
        strict: Whether to exclude the position itself, as the first layer of
            a network must.

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
        r, k = self.radius, self.kernel_size
        row_taps = r + (not self.strict)

        def kernel(name, height, width):
            # The variance that Glorot's rule gives one kernel of all taps.
            initializer = keras.initializers.VarianceScaling(
                height * width / (r * k + row_taps), "fan_avg", "uniform"
            )
            shape = (height, width, x_shape[-1], self.filters)
            return self.add_weight(shape, initializer, name=name)

        if r:
            self.above_kernel = kernel("above_kernel", r, k)
        self.row_kernel = kernel("row_kernel", 1, row_taps)
        self.bias = self.add_weight((self.filters,), "zeros", name="bias")

    def call(self, x):
        batch_size, height, width, channels = ops.shape(x)
        r = self.radius

        def cropped(x, height, width):
            # On TensorFlow the gradient of `x[:, :height, :width]` is slow.
            shape = (batch_size, height, width, channels)
            return ops.slice(x, (0, 0, 0, 0), shape)

        to_the_left = ops.pad(x, [[0, 0], [0, 0], [r, 0], [0, 0]])
        if self.strict:
            to_the_left = cropped(to_the_left, height, width + r - 1)
        y = ops.conv(to_the_left, self.row_kernel, padding="valid")
        if r:
            above = ops.pad(x, [[0, 0], [r, 0], [r, r], [0, 0]])
            above = cropped(above, height + r - 1, width + 2 * r)
            y = y + ops.conv(above, self.above_kernel, padding="valid")
        return add_bias(y, self.bias, training=True)

    def initial_state(self, batch_size, width):
        """State before the first row.

        Args:
            batch_size: B.
            width: W of the map.

        Returns:
            dict: `above`, the rows above with zero padding; `row`, the current
            row, filled up to the current position; `from_above`, the rows
            above times their taps plus the bias, `[B, W, filters]`;
            `row_matrix`, the taps of the current row, `[taps * C, filters]`.
            For k = 1 only `row_matrix` and `bias`.
        """
        r = self.radius
        kernel, bias = self._computable(self.row_kernel, self.bias)
        # Computed once, here: XLA uses no vector instructions for a product
        # with a matrix that is computed inside the sampling loop.
        matrix = ops.reshape(kernel, (-1, self.filters))
        if not r:
            return {"row_matrix": matrix, "bias": bias}
        padded_row = (width + 2 * r, self.row_kernel.shape[2])

        def zeros(*shape):
            return ops.zeros((batch_size, *shape), self.compute_dtype)

        return {
            "above": zeros(r, *padded_row),
            "row": zeros(*padded_row),
            "from_above": zeros(width, self.filters),
            "row_matrix": matrix,
        }

    def next_row(self, state):
        """State at the start of the next row, including the first row."""
        if not self.radius:
            return state
        rows = ops.concatenate([state["above"], state["row"][:, None]], axis=1)
        above = rows[:, 1:]
        kernel, bias = self._computable(self.above_kernel, self.bias)
        from_above = ops.conv(above, kernel, padding="valid")[:, 0] + bias
        return {**state, "above": above, "from_above": from_above}

    def step(self, state, x, column):
        """Output at a position, from its input too; not for `strict`.

        A `strict` layer is used by `read` at a position, then by `write`.

        Args:
            state: State with the columns before this one.
            x: `[B, C]`, input at the position.
            column: int32 scalar.

        Returns:
            Tuple of the output `[B, filters]` and the state.
        """
        if not self.radius:
            return ops.matmul(x, state["row_matrix"]) + state["bias"], state
        state = self.write(state, x, column)
        return self.read(state, column), state

    def write(self, state, x, column):
        """State with the input `[B, C]` at a column (k > 1)."""
        row = write_column(state["row"], column + self.radius, x)
        return {**state, "row": row}

    def read(self, state, column):
        """Output `[B, filters]` at a column (k > 1)."""
        window = read_columns(state["row"], column, self.row_kernel.shape[1])
        y = ops.matmul(window, state["row_matrix"])
        return y + read_columns(state["from_above"], column)

    def _computable(self, *weights):
        # Keras casts weights only inside `call`.
        return [ops.cast(weight, self.compute_dtype) for weight in weights]

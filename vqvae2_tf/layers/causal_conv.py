"""Causal convolution by padding and slicing."""

import keras
from keras import ops

from vqvae2_tf.layers.row_buffer import read_columns
from vqvae2_tf.layers.row_buffer import write_column


@keras.saving.register_keras_serializable("vqvae2_tf")
class CausalConv2D(keras.layers.Layer):
    """The masked convolution of PixelCNN without masked weights.

    In raster order, the output at a position sees the (k - 1) / 2 rows above
    it at full width k, the (k - 1) / 2 positions to its left, and, unless
    `strict`, the position itself: 13 live taps at k = 5, which are all that is
    stored and multiplied (VQ-VAE-2, supplement A.2; PixelCNN's mask B, or mask
    A when `strict`). k = 1 is a plain 1x1 convolution.

    Incrementally, the rows above are convolved once for a whole row, and each
    position costs the taps of its own row (`initial_state`, `next_row`,
    `step`). Only (k - 1) / 2 rows are kept, whatever the map's height.

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

    def initial_state(self, batch_size, width):
        """State above the first row.

        Args:
            batch_size: B.
            width: W of the map.

        Returns:
            dict: `above`, the rows above with zero padding; `row`, this row
            as far as it is known; `from_above`, `[B, W, filters]`, what the
            rows above and the bias add to this row; `row_matrix`, the taps of
            this row, `[taps * C, filters]`. For k = 1 only the last, and
            `bias`.
        """
        r = self.radius
        kernel, bias = self._computable(self.row_kernel, self.bias)
        # Made here, once: XLA runs a product with a matrix that is made in
        # the loop without vector instructions.
        matrix = ops.reshape(kernel, (-1, self.filters))
        if not r:
            return {"row_matrix": matrix, "bias": bias}
        channels = self.row_kernel.shape[2]
        padded = width + 2 * r

        def zeros(*shape):
            return ops.zeros((batch_size, *shape), self.compute_dtype)

        return {
            "above": zeros(r, padded, channels),
            "row": zeros(padded, channels),
            "from_above": zeros(width, self.filters),
            "row_matrix": matrix,
        }

    def next_row(self, state):
        """State at the start of the next row, the first one included."""
        if not self.radius:
            return state
        above = ops.concatenate(
            [state["above"][:, 1:], state["row"][:, None]], axis=1
        )
        kernel, bias = self._computable(self.above_kernel, self.bias)
        from_above = ops.conv(above, kernel, padding="valid")[:, 0] + bias
        return {**state, "above": above, "from_above": from_above}

    def step(self, state, x, column):
        """Output at a position; not for `strict`, whose output is first.

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
        taps = self.row_kernel.shape[1]
        window = read_columns(state["row"], column, taps)
        y = ops.matmul(window, state["row_matrix"])
        return y + read_columns(state["from_above"], column)

    def _computable(self, *weights):
        # Keras casts weights in `call` alone.
        return [ops.cast(weight, self.compute_dtype) for weight in weights]

    def compute_output_shape(self, x_shape):
        return (*x_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strict": self.strict,
        }

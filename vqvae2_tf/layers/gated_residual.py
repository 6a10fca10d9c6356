"""Gated residual layer of the prior."""

import keras
from keras import ops

from vqvae2_tf.layers.causal_conv import CausalConv2D
from vqvae2_tf.layers.recomputation import DrawnSeed
from vqvae2_tf.layers.row_buffer import read_columns


@keras.saving.register_keras_serializable("vqvae2_tf")
class GatedResidual(keras.layers.Layer):
    """Gated causal residual layer (VQ-VAE-2, supplement A.2, figure 1).

    ELU, causal convolution to `residual_units` (plus a 1x1 of the auxiliary
    input), ELU, dropout, second convolution to twice the input's width (plus
    bias-free projections of the class embedding and the conditioning map),
    `a * sigmoid(b)`, added to the input.

    Args:
        residual_units: Width between the two convolutions.
        kernel_size: Size of the first, causal convolution.
        second_kernel_size: Size of the second one: 1, or `kernel_size` as in
            PixelSNAIL.
        dropout: Rate of the dropout before the second convolution.
        rematerialize: Whether the gradient computes the layer again instead of
            keeping what is inside it.

    Call arguments:
        x: `[B, H, W, C]` float.
        auxiliary: Optional `[B, H, W, A]` float, causal already.
        class_embedding: Optional `[B, E]` float.
        conditioning: Optional `[B, H, W, F]` float; every position sees all
            of it that the caller aligned with the position.
        training: Whether dropout is active.

    Returns:
        `[B, H, W, C]` float.
    """

    def __init__(
        self,
        residual_units,
        kernel_size,
        second_kernel_size=1,
        dropout=0.0,
        rematerialize=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.residual_units = residual_units
        self.kernel_size = kernel_size
        self.second_kernel_size = second_kernel_size
        self.rematerialize = rematerialize
        policy = self.dtype_policy
        self.first_conv = CausalConv2D(
            residual_units, kernel_size, dtype=policy
        )
        self.dropout = keras.layers.Dropout(dropout, dtype=policy)

    def build(
        self,
        x_shape,
        auxiliary_shape=None,
        class_embedding_shape=None,
        conditioning_shape=None,
    ):
        policy = self.dtype_policy
        width = x_shape[-1]
        self.first_conv.build(x_shape)
        inner_shape = (*x_shape[:-1], self.residual_units)
        self.second_conv = CausalConv2D(
            2 * width, self.second_kernel_size, dtype=policy
        )
        self.second_conv.build(inner_shape)
        self.dropout.build(inner_shape)
        if auxiliary_shape:
            self.auxiliary_projection = keras.layers.Dense(
                self.residual_units, use_bias=False, dtype=policy
            )
            self.auxiliary_projection.build(auxiliary_shape)
        if class_embedding_shape:
            self.class_projection = keras.layers.Dense(
                2 * width, use_bias=False, dtype=policy
            )
            self.class_projection.build(class_embedding_shape)
        if conditioning_shape:
            self.conditioning_projection = keras.layers.Dense(
                2 * width, use_bias=False, dtype=policy
            )
            self.conditioning_projection.build(conditioning_shape)

    def call(
        self,
        x,
        auxiliary=None,
        class_embedding=None,
        conditioning=None,
        training=False,
    ):
        given = {
            "auxiliary": auxiliary,
            "class_embedding": class_embedding,
            "conditioning": conditioning,
        }
        given = {name: y for name, y in given.items() if y is not None}
        seed = None
        if training and self.dropout.rate:
            # Drawn here, so that a recomputation drops the same values.
            seed = DrawnSeed(self.dropout.seed_generator)

        def compute(x, *values):
            return self._compute(
                x, seed, **dict(zip(given, values, strict=True))
            )

        if training and self.rematerialize:
            compute = keras.remat(compute)
        return compute(x, *given.values())

    def _compute(
        self,
        x,
        seed,
        auxiliary=None,
        class_embedding=None,
        conditioning=None,
    ):
        h = self.first_conv(ops.elu(x))
        if auxiliary is not None:
            h = h + self.auxiliary_projection(auxiliary)
        h = ops.elu(h)
        if seed:
            # TensorFlow would draw, and keep, all layers' numbers at once.
            seed = seed.after(x)
            h = keras.random.dropout(h, self.dropout.rate, seed=seed)
        h = self.second_conv(h)
        if class_embedding is not None:
            h = h + self.class_projection(class_embedding)[:, None, None, :]
        if conditioning is not None:
            h = h + self.conditioning_projection(conditioning)
        return self._gate(x, h)

    def initial_state(
        self, batch_size, width, class_embedding=None, conditioned=False
    ):
        """State above the first row.

        Args:
            batch_size: B.
            width: W of the map.
            class_embedding: As in the call; projected here, once.
            conditioned: Whether `next_row` is given conditioning.

        Returns:
            dict of the convolutions' states and of what the class and the
            conditioning add before the gate.
        """
        state = {
            "first_conv": self.first_conv.initial_state(batch_size, width),
            "second_conv": self.second_conv.initial_state(batch_size, width),
        }
        if class_embedding is not None:
            state["from_class"] = self.class_projection(class_embedding)
        if conditioned:
            state["from_conditioning"] = ops.zeros(
                (batch_size, width, self.second_conv.filters),
                self.compute_dtype,
            )
        return state

    def next_row(self, state, conditioning=None):
        """State at the start of the next row, the first one included.

        Args:
            state: State at the end of the row above.
            conditioning: `[B, W, F]`, the row's, if `conditioned`.
        """
        state = {
            **state,
            "first_conv": self.first_conv.next_row(state["first_conv"]),
            "second_conv": self.second_conv.next_row(state["second_conv"]),
        }
        if conditioning is not None:
            state["from_conditioning"] = self.conditioning_projection(
                conditioning
            )
        return state

    def step(self, state, x, column, auxiliary=None):
        """Output at a position.

        Args:
            state: State with the columns before this one.
            x: `[B, C]`, input at the position.
            column: int32 scalar.
            auxiliary: `[B, A]` at the position, as in the call.

        Returns:
            Tuple of the output `[B, C]` and the state.
        """
        state = dict(state)
        h, state["first_conv"] = self.first_conv.step(
            state["first_conv"], ops.elu(x), column
        )
        if auxiliary is not None:
            h = h + self.auxiliary_projection(auxiliary)
        h, state["second_conv"] = self.second_conv.step(
            state["second_conv"], ops.elu(h), column
        )
        if "from_class" in state:
            h = h + state["from_class"]
        if "from_conditioning" in state:
            h = h + read_columns(state["from_conditioning"], column)
        return self._gate(x, h), state

    def _gate(self, x, h):
        a, b = ops.split(h, 2, axis=-1)
        return x + a * ops.sigmoid(b)

    def compute_output_shape(self, x_shape, **_):
        return x_shape

    def get_config(self):
        return {
            **super().get_config(),
            "residual_units": self.residual_units,
            "kernel_size": self.kernel_size,
            "second_kernel_size": self.second_kernel_size,
            "dropout": self.dropout.rate,
            "rematerialize": self.rematerialize,
        }

"""Gated residual layer of the priors."""

import keras
from keras import ops

from vqvae2_tf.layers.causal_conv import CausalConv2D
from vqvae2_tf.layers.dropout import dropout
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
        rematerialize: Whether the backward pass recomputes the layer's
            activations instead of storing them.

    Call arguments:
        x: `[B, H, W, C]` float.
        auxiliary: Optional `[B, H, W, A]` float, already causal.
        class_embedding: Optional `[B, E]` float.
        conditioning: Optional `[B, H, W, F]` float, added at the same
            position.
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
        self.second_kernel_size = second_kernel_size
        self.rematerialize = rematerialize
        policy = self.dtype_policy.name
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
        policy = self.dtype_policy.name
        inner, gates = self.residual_units, 2 * x_shape[-1]

        def projection(units, shape):
            if shape is None:
                return None
            dense = keras.layers.Dense(units, use_bias=False, dtype=policy)
            dense.build(shape)
            return dense

        self.first_conv.build(x_shape)
        self.second_conv = CausalConv2D(
            gates, self.second_kernel_size, dtype=policy
        )
        self.second_conv.build((*x_shape[:-1], inner))
        self.auxiliary_projection = projection(inner, auxiliary_shape)
        self.class_projection = projection(gates, class_embedding_shape)
        self.conditioning_projection = projection(gates, conditioning_shape)

    def call(
        self,
        x,
        auxiliary=None,
        class_embedding=None,
        conditioning=None,
        training=False,
    ):
        inputs = {
            "auxiliary": auxiliary,
            "class_embedding": class_embedding,
            "conditioning": conditioning,
        }
        inputs = {name: y for name, y in inputs.items() if y is not None}
        seed = None
        if training and self.dropout.rate:
            # Drawn here, so that a recomputation drops the same values.
            seed = DrawnSeed(self.dropout.seed_generator)

        def compute(x, inputs):
            return self._compute(x, seed, **inputs)

        if training and self.rematerialize:
            compute = keras.remat(compute)
        return compute(x, inputs)

    def _compute(
        self, x, seed, auxiliary=None, class_embedding=None, conditioning=None
    ):
        h = self.first_conv(ops.elu(x))
        if auxiliary is not None:
            h = h + self.auxiliary_projection(auxiliary)
        h = ops.elu(h)
        if seed:
            # Otherwise TensorFlow draws all layers' random numbers at once
            # and stores them.
            seed = seed.after(x)
            h = dropout(h, self.dropout.rate, seed)
        h = self.second_conv(h)
        if class_embedding is not None:
            h = h + self.class_projection(class_embedding)[:, None, None, :]
        if conditioning is not None:
            h = h + self.conditioning_projection(conditioning)
        return self._gate(x, h)

    def initial_state(self, batch_size, width, class_embedding=None):
        """State before the first row.

        Args:
            batch_size: B.
            width: W of the map.
            class_embedding: As in the call; projected only here.

        Returns:
            dict of the convolutions' states and of the projected class
            embedding and conditioning.
        """
        state = {
            "first_conv": self.first_conv.initial_state(batch_size, width),
            "second_conv": self.second_conv.initial_state(batch_size, width),
        }
        if class_embedding is not None:
            state["from_class"] = self.class_projection(class_embedding)
        if self.conditioning_projection:
            shape = (batch_size, width, self.second_conv.filters)
            state["from_conditioning"] = ops.zeros(shape, self.compute_dtype)
        return state

    def next_row(self, state, conditioning=None):
        """State at the start of the next row, including the first row.

        Args:
            state: State at the end of the row above.
            conditioning: `[B, W, F]` of the row, if the layer has this input.
        """
        state = {
            **state,
            "first_conv": self.first_conv.next_row(state["first_conv"]),
            "second_conv": self.second_conv.next_row(state["second_conv"]),
        }
        if conditioning is not None:
            project = self.conditioning_projection
            state["from_conditioning"] = project(conditioning)
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

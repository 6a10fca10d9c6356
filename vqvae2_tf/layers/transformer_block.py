"""A block of a transformer, as they are built today."""

import keras
from keras import ops

from vqvae2_tf.layers.blockwise_attention import blockwise_attention
from vqvae2_tf.layers.dropout import dropout
from vqvae2_tf.layers.key_value_cache import KeyValueCache
from vqvae2_tf.layers.recomputation import DrawnSeed


@keras.saving.register_keras_serializable("vqvae2_tf")
class TransformerBlock(keras.layers.Layer):
    """Attention and a gated feed-forward layer, each added to its input.

    x + attention(RMSNorm(x)), then x + SwiGLU(RMSNorm(x)). Queries and keys
    are normalized in each head (QK-norm), and no layer has a bias. Incremental
    calls (`prefill`, `initial_state`, `next_row`, `step`) keep the keys and
    values of a map's positions, and of the tokens before the map.

    Args:
        heads: Number of heads; divides the input's width.
        inner_units: Width between the two layers of SwiGLU (Shazeer, 2020).
        dropout: Rate of the dropout on what is added to the input.
        rematerialize: Whether the backward pass recomputes the block's
            activations instead of storing them.
        attend: Function of scaled queries, keys and values, `[B, heads, T, D]`
            each, that gives what is attended to: causal by default, which the
            incremental calls are in any case.

    Call arguments:
        x: `[B, T, C]` float.
        training: Whether dropout is active.

    Returns:
        `[B, T, C]` float. With causal attention that at a token depends on no
        later token.

    Raises:
        ValueError: If `heads` does not divide the input's width.
    """

    def __init__(
        self,
        heads,
        inner_units,
        dropout=0.0,
        rematerialize=False,
        attend=blockwise_attention,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.heads = heads
        self.inner_units = inner_units
        self.rematerialize = rematerialize
        self.attend = attend
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, x_shape):
        units = x_shape[-1]
        if units % self.heads:
            raise ValueError(
                "`heads` must divide the input's width. "
                f"Received: heads={self.heads}, width={units}"
            )
        self.units = units
        self.head_units = units // self.heads
        policy = self.dtype_policy.name

        def dense(inputs, outputs):
            layer = keras.layers.Dense(outputs, use_bias=False, dtype=policy)
            layer.build((None, inputs))
            return layer

        def norm(width):
            layer = keras.layers.RMSNormalization(dtype=policy)
            layer.build((None, width))
            return layer

        self.attention_norm = norm(units)
        self.qkv_projection = dense(units, 3 * units)
        self.query_norm = norm(self.head_units)
        self.key_norm = norm(self.head_units)
        self.output_projection = dense(units, units)
        self.feed_forward_norm = norm(units)
        self.gate_projection = dense(units, 2 * self.inner_units)
        self.down_projection = dense(self.inner_units, units)

    def call(self, x, training=False):
        seeds = None
        if training and self.dropout.rate:
            # Drawn here, so that a recomputation drops the same values.
            seeds = [DrawnSeed(self.dropout.seed_generator) for _ in range(2)]

        def compute(x):
            return self._compute(x, seeds)[0]

        if training and self.rematerialize:
            compute = keras.remat(compute)
        return compute(x)

    def prefill(self, x):
        """Outputs of tokens `[B, S, C]` before a map, with what they leave.

        Returns:
            Tuple of `[B, S, C]` and the prefix of `initial_state`.
        """
        return self._compute(x, in_order=False)

    def initial_state(self, batch_size, map_size, prefix=None):
        """State before the first row of a map; see `KeyValueCache`."""
        return self._cache(map_size).initial_state(batch_size, prefix=prefix)

    def next_row(self, state, map_size, row):
        """State at the start of a row; see `KeyValueCache`."""
        return self._cache(map_size).next_row(state, row)

    def step(self, state, x, map_size, row, column):
        """Output at a position.

        Args:
            state: State with all earlier positions.
            x: `[B, C]`, input at the position.
            map_size: Height and width of the map.
            row: int32 scalar.
            column: int32 scalar.

        Returns:
            Tuple of the output `[B, C]` and the state.
        """
        cache = self._cache(map_size)
        y, state = cache.step(state, *self._qkv(x), row, column)
        x = x + self.output_projection(ops.reshape(y, (-1, self.units)))
        return x + self._feed_forward(x), state

    def _cache(self, map_size):
        return KeyValueCache(
            map_size, self.heads, self.head_units, self.compute_dtype
        )

    def _compute(self, x, seeds=None, **options):
        """Outputs, and the keys and values `[B, heads, T, D]`.

        `options` are those of `attend`.
        """

        def drop(y, index):
            if seeds is None:
                return y
            # Otherwise TensorFlow draws all blocks' random numbers at once
            # and stores them.
            return dropout(y, self.dropout.rate, seeds[index].after(x))

        q, k, v = (ops.swapaxes(part, 1, 2) for part in self._qkv(x))
        # A lone token attends to itself.
        y = v if x.shape[1] == 1 else self.attend(q, k, v, **options)
        y = ops.swapaxes(y, 1, 2)
        y = self.output_projection(ops.reshape(y, ops.shape(x)))
        h = x + drop(y, 0)
        return h + drop(self._feed_forward(h), 1), (k, v)

    def _qkv(self, x):
        """Scaled queries, keys and values, `[B, ..., heads, D]`."""
        qkv = self.qkv_projection(self.attention_norm(x))
        shape = (*ops.shape(x)[:-1], 3 * self.heads, self.head_units)
        q, k, v = ops.split(ops.reshape(qkv, shape), 3, axis=-2)
        return self.query_norm(q) * self.head_units**-0.5, self.key_norm(k), v

    def _feed_forward(self, x):
        gate, y = ops.split(
            self.gate_projection(self.feed_forward_norm(x)), 2, axis=-1
        )
        return self.down_projection(ops.silu(gate) * y)

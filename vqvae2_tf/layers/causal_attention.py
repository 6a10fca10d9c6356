"""Causal multi-head attention over a map, in raster order."""

import keras
from keras import ops

from vqvae2_tf.layers.biased import Dense
from vqvae2_tf.layers.blockwise_attention import blockwise_attention
from vqvae2_tf.layers.key_value_cache import KeyValueCache


@keras.saving.register_keras_serializable("vqvae2_tf")
class CausalAttention(keras.layers.Layer):
    """Each position attends to itself and to all earlier positions.

    Multi-head attention of the prior (VQ-VAE-2, section 3.2 and supplement
    A.2). The mask includes the position itself, because the features at a
    position depend only on earlier codes. Queries are processed in blocks,
    each against the keys up to the block's end (`blockwise_attention`), so
    that the logits of the whole map are never in memory. Softmax is float32.

    Incremental calls (`initial_state`, `next_row`, `step`) cache keys and
    values (`KeyValueCache`).

    Args:
        units: Width of queries, keys, values and output, over all heads.
        heads: Number of heads; divides `units`.
        dropout: Rate of the dropout on the logits.
        query_block: Positions whose logits are computed at once. (128 at 64x64
            with 8 heads take 16 MiB a sample; all take 512 MiB.)

    Call arguments:
        queries: `[B, H, W, Q]` float.
        memory: `[B, H, W, M]` float, the input of keys and values.
        training: Whether dropout is active.

    Returns:
        `[B, H, W, units]` float.

    Raises:
        ValueError: If `heads` does not divide `units`.
    """

    def __init__(self, units, heads, dropout=0.0, query_block=128, **kwargs):
        super().__init__(**kwargs)
        if units % heads:
            raise ValueError(
                "`heads` must divide `units`. "
                f"Received: heads={heads}, units={units}"
            )
        self.units = units
        self.heads = heads
        self.head_units = units // heads
        self.query_block = query_block
        policy = self.dtype_policy.name
        self.query_projection = Dense(units, dtype=policy)
        self.key_projection = Dense(units, dtype=policy)
        self.value_projection = Dense(units, dtype=policy)
        self.dropout = keras.layers.Dropout(dropout, dtype=policy)

    def build(self, queries_shape, memory_shape):
        self.query_projection.build(queries_shape)
        self.key_projection.build(memory_shape)
        self.value_projection.build(memory_shape)
        self.positions = queries_shape[1] * queries_shape[2]
        self.cache = KeyValueCache(
            queries_shape[1:3], self.heads, self.head_units, self.compute_dtype
        )

    def call(self, queries, memory, training=False):
        shape = (-1, self.positions, self.heads, self.head_units)

        def split_heads(x):
            return ops.transpose(ops.reshape(x, shape), (0, 2, 1, 3))

        q = split_heads(self.query_projection(queries)) * self.head_units**-0.5
        k = split_heads(self.key_projection(memory))
        v = split_heads(self.value_projection(memory))
        dropout = self.dropout if training else None
        y = blockwise_attention(q, k, v, self.query_block, dropout)
        y = ops.transpose(y, (0, 2, 1, 3))
        return ops.reshape(y, (*ops.shape(queries)[:3], self.units))

    def initial_state(self, batch_size, key_block=256):
        """State before the first row; see `KeyValueCache`."""
        return self.cache.initial_state(batch_size, key_block)

    def next_row(self, state, row):
        """State at the start of a row; see `KeyValueCache`."""
        return self.cache.next_row(state, row)

    def step(self, state, queries, memory, row, column):
        """Output at a position.

        Args:
            state: State with all earlier positions.
            queries: `[B, Q]` at the position.
            memory: `[B, M]` at the position.
            row: int32 scalar.
            column: int32 scalar.

        Returns:
            Tuple of the output `[B, units]` and the state.
        """

        def split(x):
            return ops.reshape(x, (-1, self.heads, self.head_units))

        q = split(self.query_projection(queries)) * self.head_units**-0.5
        k = split(self.key_projection(memory))
        v = split(self.value_projection(memory))
        y, state = self.cache.step(state, q, k, v, row, column)
        return ops.reshape(y, (-1, self.units)), state

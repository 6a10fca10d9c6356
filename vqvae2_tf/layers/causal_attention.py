"""Causal multi-head attention over a map, in raster order."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("vqvae2_tf")
class CausalAttention(keras.layers.Layer):
    """Each position attends to itself and to all earlier ones.

    Multi-head attention of the prior (VQ-VAE-2, section 3.2 and supplement
    A.2). The mask is inclusive: the features at a position have seen only
    earlier codes. Queries go in blocks, each against the keys up to its own
    end, so that a forward pass never holds the logits of the whole map; a
    gradient still keeps each block's. Softmax is float32.

    Args:
        units: Width of queries, keys, values and output, over all heads.
        num_heads: Number of heads; divides `units`.
        dropout: Rate of the dropout on the logits.
        query_block: Positions whose logits are computed at once.

    Call arguments:
        queries: `[B, H, W, Q]` float.
        memory: `[B, H, W, M]` float, what keys and values are made of.
        training: Whether dropout is active.

    Returns:
        `[B, H, W, units]` float.

    Raises:
        ValueError: If `num_heads` does not divide `units`.
    """

    def __init__(
        self, units, num_heads, dropout=0.0, query_block=256, **kwargs
    ):
        super().__init__(**kwargs)
        if units % num_heads:
            raise ValueError(
                "`num_heads` must divide `units`. "
                f"Received: num_heads={num_heads}, units={units}"
            )
        self.units = units
        self.num_heads = num_heads
        self.query_block = query_block
        policy = self.dtype_policy
        self.query_projection = keras.layers.Dense(units, dtype=policy)
        self.key_projection = keras.layers.Dense(units, dtype=policy)
        self.value_projection = keras.layers.Dense(units, dtype=policy)
        self.dropout = keras.layers.Dropout(dropout, dtype=policy)

    def build(self, queries_shape, memory_shape):
        self.query_projection.build(queries_shape)
        self.key_projection.build(memory_shape)
        self.value_projection.build(memory_shape)
        self.dropout.build((None, self.num_heads, None, None))
        self.num_positions = queries_shape[1] * queries_shape[2]

    def _split_heads(self, x):
        return ops.reshape(
            x,
            (
                -1,
                self.num_positions,
                self.num_heads,
                self.units // self.num_heads,
            ),
        )

    def call(self, queries, memory, training=False):
        q = self._split_heads(self.query_projection(queries))
        q = q * (self.units // self.num_heads) ** -0.5
        k = self._split_heads(self.key_projection(memory))
        v = self._split_heads(self.value_projection(memory))
        blocks = []
        for start in range(0, self.num_positions, self.query_block):
            stop = min(start + self.query_block, self.num_positions)
            logits = ops.einsum(
                "bqhd,bkhd->bhqk", q[:, start:stop], k[:, :stop]
            )
            logits = self.dropout(logits, training=training)
            logits = ops.cast(logits, "float32")
            is_later = (
                ops.arange(stop)[None, :] > ops.arange(start, stop)[:, None]
            )
            logits = ops.where(is_later, -1e30, logits)
            weights = ops.cast(ops.softmax(logits), v.dtype)
            blocks.append(ops.einsum("bhqk,bkhd->bqhd", weights, v[:, :stop]))
        attended = ops.concatenate(blocks, axis=1)
        return ops.reshape(attended, (*ops.shape(queries)[:3], self.units))

    def compute_output_shape(self, queries_shape, memory_shape):
        return (*queries_shape[:-1], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "num_heads": self.num_heads,
            "dropout": self.dropout.rate,
            "query_block": self.query_block,
        }

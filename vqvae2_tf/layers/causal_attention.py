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

    Incrementally, keys and values are kept: a row's own apart from those of
    the rows above, which change once a row (`initial_state`, `next_row`,
    `step`).

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
        self.map_size = tuple(queries_shape[1:3])
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

    def initial_state(self, batch_size):
        """State above the first row.

        Args:
            batch_size: B.

        Returns:
            dict: `keys` and `values`, `[B, heads, H * W, D]`, filled down to
            the row above; `row_keys` and `row_values`, `[B, heads, W, D]`, of
            this row, filled as far as it is known.
        """

        def zeros(count):
            return ops.zeros(
                (
                    batch_size,
                    self.num_heads,
                    count,
                    self.units // self.num_heads,
                ),
                self.compute_dtype,
            )

        return {
            "keys": zeros(self.num_positions),
            "values": zeros(self.num_positions),
            "row_keys": zeros(self.map_size[1]),
            "row_values": zeros(self.map_size[1]),
        }

    def next_row(self, state, row):
        """State at the start of a row, the first one included.

        Args:
            state: State at the end of the row above.
            row: int32 scalar, number of the row that starts.
        """
        # Above the first row, zeros go where its own keys come later.
        start = (0, 0, ops.maximum(row - 1, 0) * self.map_size[1], 0)
        return {
            **state,
            "keys": ops.slice_update(state["keys"], start, state["row_keys"]),
            "values": ops.slice_update(
                state["values"], start, state["row_values"]
            ),
        }

    def step(self, state, queries, memory, row, column):
        """Output at a position.

        Args:
            state: State with the positions before this one.
            queries: `[B, Q]` at the position.
            memory: `[B, M]` at the position.
            row: int32 scalar.
            column: int32 scalar.

        Returns:
            Tuple of the output `[B, units]` and the state.
        """

        def split(x, count):
            return ops.reshape(
                x, (-1, self.num_heads, count, self.units // self.num_heads)
            )

        q = split(self.query_projection(queries), 1)
        q = q * (self.units // self.num_heads) ** -0.5
        place = (0, 0, column, 0)
        state = {
            **state,
            "row_keys": ops.slice_update(
                state["row_keys"],
                place,
                split(self.key_projection(memory), 1),
            ),
            "row_values": ops.slice_update(
                state["row_values"],
                place,
                split(self.value_projection(memory), 1),
            ),
        }

        def logits(keys, count):
            """`[B, heads, 1, P]`, the first `count` ones live."""
            products = ops.matmul(q, ops.swapaxes(keys, -1, -2))
            is_later = ops.arange(keys.shape[2]) >= count
            return ops.where(is_later, -1e30, ops.cast(products, "float32"))

        weights = ops.softmax(
            ops.concatenate(
                [
                    logits(state["keys"], row * self.map_size[1]),
                    logits(state["row_keys"], column + 1),
                ],
                axis=-1,
            )
        )
        weights = ops.cast(weights, q.dtype)
        y = ops.matmul(weights[..., : self.num_positions], state["values"])
        y = y + ops.matmul(
            weights[..., self.num_positions :], state["row_values"]
        )
        return ops.reshape(y, (-1, self.units)), state

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

"""Causal multi-head attention over a map, in raster order."""

import functools

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

    def initial_state(self, batch_size, key_block=256):
        """State above the first row.

        Args:
            batch_size: B.
            key_block: Positions above the row whose keys and values are kept
                together, rounded down to whole rows but at least one. Blocks
                that hold none yet are not attended to.

        Returns:
            dict: `blocks`, list of dicts of `keys` `[B, heads, D, P]` and
            `values` `[B, heads, P, D]`, of P positions each, filled down to
            the row above; `row`, one such dict, of this row, filled as far as
            it is known.
        """
        height, width = self.map_size
        head_units = self.units // self.num_heads

        def zeros(rows):
            count = rows * width
            keys = (batch_size, self.num_heads, head_units, count)
            values = (batch_size, self.num_heads, count, head_units)
            return {
                "keys": ops.zeros(keys, self.compute_dtype),
                "values": ops.zeros(values, self.compute_dtype),
            }

        rows = max(key_block // width, 1)
        # The last row is above no other.
        starts = range(0, height - 1, rows)
        return {
            "blocks": [zeros(min(rows, height - 1 - i)) for i in starts],
            "row": zeros(1),
        }

    def next_row(self, state, row):
        """State at the start of a row, the first one included.

        Args:
            state: State at the end of the row above.
            row: int32 scalar, number of the row that starts.
        """
        blocks = []
        above = row - 1
        for block in state["blocks"]:
            rows = block["keys"].shape[-1] // self.map_size[1]
            blocks.append(
                ops.cond(
                    ops.logical_and(above >= 0, above < rows),
                    lambda block=block, above=above: self._write(
                        block, state["row"], above * self.map_size[1]
                    ),
                    lambda block=block: block,
                )
            )
            above = above - rows
        return {**state, "blocks": blocks}

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
        head_units = self.units // self.num_heads

        def split(x, *shape):
            return ops.reshape(x, (-1, self.num_heads, *shape))

        q = split(self.query_projection(queries), head_units)
        q = q * head_units**-0.5
        here = {
            "keys": split(self.key_projection(memory), head_units, 1),
            "values": split(self.value_projection(memory), 1, head_units),
        }
        row_block = self._write(state["row"], here, column)
        parts = [self._attend(q, row_block, column + 1)]
        filled = row * self.map_size[1]
        for block in state["blocks"]:
            parts.append(
                ops.cond(
                    filled > 0,
                    lambda block=block, filled=filled: self._attend(
                        q, block, filled
                    ),
                    lambda: self._attend_to_nothing(q),
                )
            )
            filled = filled - block["keys"].shape[-1]
        # The softmax over all parts, of each part's own.
        largest = functools.reduce(ops.maximum, [part[0] for part in parts])
        shares = [ops.exp(part[0] - largest) for part in parts]
        total = sum(
            share * part[1] for share, part in zip(shares, parts, strict=True)
        )
        y = sum(
            share * part[2] for share, part in zip(shares, parts, strict=True)
        )
        y = ops.cast(y / total, q.dtype)
        return ops.reshape(y, (-1, self.units)), {**state, "row": row_block}

    def _write(self, block, new, position):
        """A block with new keys and values from a position on."""
        return {
            "keys": ops.slice_update(
                block["keys"], (0, 0, 0, position), new["keys"]
            ),
            "values": ops.slice_update(
                block["values"], (0, 0, position, 0), new["values"]
            ),
        }

    def _attend(self, q, block, count):
        """Attention of `[B, heads, D]` to the first positions of a block.

        Returns:
            Tuple, float32: the largest logit and, relative to its
            exponential, the sum of the exponentials, both `[B, heads, 1]`,
            and that of the values times them, `[B, heads, D]`.
        """
        keys, values = block["keys"], block["values"]
        logits = ops.cast(ops.einsum("bhd,bhdp->bhp", q, keys), "float32")
        is_later = ops.arange(keys.shape[-1]) >= count
        logits = ops.where(is_later, -1e30, logits)
        largest = ops.max(logits, axis=-1, keepdims=True)
        weights = ops.exp(logits - largest)
        y = ops.einsum("bhp,bhpd->bhd", ops.cast(weights, values.dtype), values)
        total = ops.sum(weights, axis=-1, keepdims=True)
        return largest, total, ops.cast(y, "float32")

    def _attend_to_nothing(self, q):
        zeros = ops.zeros_like(q, dtype="float32")
        return zeros[..., :1] - 1e30, zeros[..., :1], zeros

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

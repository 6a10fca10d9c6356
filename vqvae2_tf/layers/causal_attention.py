"""Causal multi-head attention over a map, in raster order."""

import functools

import keras
from keras import ops

from vqvae2_tf.layers.recomputation import DrawnSeed
from vqvae2_tf.layers.recomputation import zero_after


@keras.saving.register_keras_serializable("vqvae2_tf")
class CausalAttention(keras.layers.Layer):
    """Each position attends to itself and to all earlier ones.

    Multi-head attention of the prior (VQ-VAE-2, section 3.2 and supplement
    A.2). The mask is inclusive: the features at a position have seen only
    earlier codes. Queries go in blocks, each against the keys up to its own
    end; the gradient computes each block's weights again, so that the logits
    of the whole map are never held. Softmax is float32.

    Incrementally, keys and values are kept: a row's own apart from those of
    the rows above, which change once a row (`initial_state`, `next_row`,
    `step`).

    Args:
        units: Width of queries, keys, values and output, over all heads.
        num_heads: Number of heads; divides `units`.
        dropout: Rate of the dropout on the logits.
        query_block: Positions whose logits are computed at once. (128 at 64x64
            with 8 heads: 16 MiB a sample, where all are 512 MiB.)

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
        self, units, num_heads, dropout=0.0, query_block=128, **kwargs
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

    def call(self, queries, memory, training=False):
        size = self.units // self.num_heads

        def split_heads(x):
            x = ops.reshape(x, (-1, self.num_positions, self.num_heads, size))
            return ops.transpose(x, (0, 2, 1, 3))

        q = split_heads(self.query_projection(queries)) * size**-0.5
        k = split_heads(self.key_projection(memory))
        v = split_heads(self.value_projection(memory))
        attend = self._attention(self.dropout.rate if training else 0.0)
        y = ops.transpose(attend(q, k, v), (0, 2, 1, 3))
        return ops.reshape(y, (*ops.shape(queries)[:3], self.units))

    def _attention(self, rate):
        """Function of scaled queries, keys and values, `[B, heads, P, D]`.

        Each block of queries waits for the one before it, forward and
        backward; else TensorFlow computes all at once.
        """
        blocks = [
            (start, min(start + self.query_block, self.num_positions))
            for start in range(0, self.num_positions, self.query_block)
        ]
        seeds = [
            DrawnSeed(self.dropout.seed_generator) if rate else None
            for _ in blocks
        ]

        def sliced(x, start, stop, before):
            """`x[:, :, start:stop]`, not before `before` is known."""
            batch, heads, count, size = ops.shape(x)
            start_then = ops.minimum(
                start + zero_after(before, "int32"), count - (stop - start)
            )
            return ops.slice(
                x, (0, 0, start_then, 0), (batch, heads, stop - start, size)
            )

        def drop(logits, seed, before):
            if not rate:
                return logits
            return keras.random.dropout(logits, rate, seed=seed.after(before))

        def weights_of(queries, keys, start, stop, seed, before):
            """`[B, heads, stop - start, stop]` float32."""
            logits = ops.einsum("bhqd,bhkd->bhqk", queries, keys)
            logits = drop(ops.cast(logits, "float32"), seed, before)
            is_later = (
                ops.arange(stop)[None, :] > ops.arange(start, stop)[:, None]
            )
            return ops.softmax(ops.where(is_later, -1e30, logits))

        @ops.custom_gradient
        def attend(q, k, v):
            attended = []
            for (start, stop), seed in zip(blocks, seeds, strict=True):
                before = attended[-1] if attended else q
                queries = sliced(q, start, stop, before)
                keys = sliced(k, 0, stop, before)
                values = sliced(v, 0, stop, before)
                weights = weights_of(queries, keys, start, stop, seed, before)
                attended.append(
                    ops.einsum(
                        "bhqk,bhkd->bhqd",
                        ops.cast(weights, values.dtype),
                        values,
                    )
                )

            def gradient(d_attended):
                dq, dk, dv = [], [], []
                # What later queries give the keys and values up to here.
                dk_rest = dv_rest = 0.0
                for (start, stop), seed in zip(
                    blocks[::-1], seeds[::-1], strict=True
                ):
                    before = dq[-1] if dq else d_attended
                    upstream = sliced(d_attended, start, stop, before)
                    queries = sliced(q, start, stop, before)
                    keys = sliced(k, 0, stop, before)
                    values = sliced(v, 0, stop, before)
                    weights = weights_of(
                        queries, keys, start, stop, seed, before
                    )
                    d_weights = ops.einsum("bhqd,bhkd->bhqk", upstream, values)
                    d_weights = weights * ops.cast(d_weights, "float32")
                    d_logits = d_weights - weights * ops.sum(
                        d_weights, axis=-1, keepdims=True
                    )
                    # Dropout is linear: its gradient is the same dropout's.
                    d_logits = drop(d_logits, seed, before)
                    d_logits = ops.cast(d_logits, q.dtype)
                    weights = ops.cast(weights, v.dtype)
                    dq.append(ops.einsum("bhqk,bhkd->bhqd", d_logits, keys))
                    dk_part = ops.einsum("bhqk,bhqd->bhkd", d_logits, queries)
                    dv_part = ops.einsum("bhqk,bhqd->bhkd", weights, upstream)
                    dk_rest = dk_rest + ops.cast(dk_part, "float32")
                    dv_rest = dv_rest + ops.cast(dv_part, "float32")
                    # No earlier query sees the block's own.
                    dk.append(dk_rest[:, :, start:])
                    dv.append(dv_rest[:, :, start:])
                    dk_rest = dk_rest[:, :, :start]
                    dv_rest = dv_rest[:, :, :start]
                return [
                    ops.cast(ops.concatenate(parts[::-1], axis=2), q.dtype)
                    for parts in (dq, dk, dv)
                ]

            return ops.concatenate(attended, axis=2), gradient

        return attend

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

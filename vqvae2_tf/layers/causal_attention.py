"""Causal multi-head attention over a map, in raster order."""

import functools

import keras
from keras import ops

from vqvae2_tf.layers.biased import Dense
from vqvae2_tf.layers.dropout import dropout
from vqvae2_tf.layers.recomputation import DrawnSeed
from vqvae2_tf.layers.recomputation import zero_after


@keras.saving.register_keras_serializable("vqvae2_tf")
class CausalAttention(keras.layers.Layer):
    """Each position attends to itself and to all earlier positions.

    Multi-head attention of the prior (VQ-VAE-2, section 3.2 and supplement
    A.2). The mask includes the position itself, because the features at a
    position depend only on earlier codes. Queries are processed in blocks,
    each against the keys up to the block's end. The gradient recomputes each
    block's weights, so that the logits of the whole map are never in memory.
    Softmax is float32.

    Incremental calls (`initial_state`, `next_row`, `step`) cache keys and
    values. Those of the current row are separate from those of the rows above,
    which change once a row.

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
        self.map_size = tuple(queries_shape[1:3])
        self.positions = queries_shape[1] * queries_shape[2]

    def call(self, queries, memory, training=False):
        shape = (-1, self.positions, self.heads, self.head_units)

        def split_heads(x):
            return ops.transpose(ops.reshape(x, shape), (0, 2, 1, 3))

        q = split_heads(self.query_projection(queries)) * self.head_units**-0.5
        k = split_heads(self.key_projection(memory))
        v = split_heads(self.value_projection(memory))
        attend = self._attention(self.dropout.rate if training else 0.0)
        y = ops.transpose(attend(q, k, v), (0, 2, 1, 3))
        return ops.reshape(y, (*ops.shape(queries)[:3], self.units))

    def _attention(self, rate):
        """A function of scaled queries, keys and values, `[B, heads, P, D]`.

        Each block of queries waits for the previous block, in the forward and
        in the backward pass. Otherwise TensorFlow computes all blocks at once.
        """
        blocks = [
            (start, min(start + self.query_block, self.positions))
            for start in range(0, self.positions, self.query_block)
        ]
        seeds = [
            DrawnSeed(self.dropout.seed_generator) if rate else None
            for _ in blocks
        ]

        def sliced(x, start, stop, before):
            """`x[:, :, start:stop]`, computed after `before`."""
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
            return dropout(logits, rate, seed.after(before))

        def inputs_and_weights(q, k, v, start, stop, seed, before):
            """A block's, the weights `[B, heads, stop - start, stop]` float32.

            With its queries, and the keys and values that they attend to.
            """
            queries = sliced(q, start, stop, before)
            keys = sliced(k, 0, stop, before)
            values = sliced(v, 0, stop, before)
            logits = ops.einsum("bhqd,bhkd->bhqk", queries, keys)
            logits = drop(ops.cast(logits, "float32"), seed, before)
            is_later = ops.arange(stop) > ops.arange(start, stop)[:, None]
            weights = ops.softmax(ops.where(is_later, -1e30, logits))
            return queries, keys, values, weights

        @ops.custom_gradient
        def attend(q, k, v):
            attended = []
            for (start, stop), seed in zip(blocks, seeds, strict=True):
                before = attended[-1] if attended else q
                *_, values, weights = inputs_and_weights(
                    q, k, v, start, stop, seed, before
                )
                weights = ops.cast(weights, values.dtype)
                attended.append(ops.einsum("bhqk,bhkd->bhqd", weights, values))

            def gradient(d_attended):
                dq, dk, dv = [], [], []
                # Gradients of the keys and values from later queries.
                dk_rest = dv_rest = 0.0
                for (start, stop), seed in zip(
                    blocks[::-1], seeds[::-1], strict=True
                ):
                    before = dq[-1] if dq else d_attended
                    upstream = sliced(d_attended, start, stop, before)
                    queries, keys, values, weights = inputs_and_weights(
                        q, k, v, start, stop, seed, before
                    )
                    d_weights = ops.einsum("bhqd,bhkd->bhqk", upstream, values)
                    d_weights = weights * ops.cast(d_weights, "float32")
                    d_logits = d_weights - weights * ops.sum(
                        d_weights, axis=-1, keepdims=True
                    )
                    # Dropout is linear: its gradient is the same dropout.
                    d_logits = drop(d_logits, seed, before)
                    d_logits = ops.cast(d_logits, q.dtype)
                    weights = ops.cast(weights, v.dtype)
                    dq.append(ops.einsum("bhqk,bhkd->bhqd", d_logits, keys))
                    dk_part = ops.einsum("bhqk,bhqd->bhkd", d_logits, queries)
                    dv_part = ops.einsum("bhqk,bhqd->bhkd", weights, upstream)
                    dk_rest = dk_rest + ops.cast(dk_part, "float32")
                    dv_rest = dv_rest + ops.cast(dv_part, "float32")
                    # No earlier query attends to this block's keys.
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
        """State before the first row.

        Args:
            batch_size: B.
            key_block: Number of positions in each block of cached keys and
                values of the rows above, rounded down to whole rows but at
                least one row. `step` skips empty blocks.

        Returns:
            dict: `blocks`, list of dicts of `keys` `[B, heads, D, P]` and
            `values` `[B, heads, P, D]`, of P positions each, filled down to
            the row above; `row`, one such dict of the current row, filled up
            to the current position.
        """
        height, width = self.map_size

        def zeros(rows):
            shape = (batch_size, self.heads, self.head_units, rows * width)
            keys = ops.zeros(shape, self.compute_dtype)
            return {"keys": keys, "values": ops.swapaxes(keys, 2, 3)}

        rows = max(key_block // width, 1)
        # No later row attends to the last row.
        starts = range(0, height - 1, rows)
        return {
            "blocks": [zeros(min(rows, height - 1 - i)) for i in starts],
            "row": zeros(1),
        }

    def next_row(self, state, row):
        """State at the start of a row, including the first row.

        Args:
            state: State at the end of the row above.
            row: int32 scalar, index of the row.
        """

        def with_row_above(block, start):
            count = block["keys"].shape[-1]
            return ops.cond(
                ops.logical_and(start >= 0, start < count),
                lambda: self._write(block, state["row"], start),
                lambda: block,
            )

        blocks = []
        start = (row - 1) * self.map_size[1]
        for block in state["blocks"]:
            blocks.append(with_row_above(block, start))
            start = start - block["keys"].shape[-1]
        return {**state, "blocks": blocks}

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
        size = self.head_units

        def split(x, *shape):
            return ops.reshape(x, (-1, self.heads, *shape))

        def attend(block, filled):
            return ops.cond(
                filled > 0,
                lambda: self._attend(q, block, filled),
                lambda: self._attend_to_nothing(q),
            )

        q = split(self.query_projection(queries), size) * size**-0.5
        here = {
            "keys": split(self.key_projection(memory), size, 1),
            "values": split(self.value_projection(memory), 1, size),
        }
        row_block = self._write(state["row"], here, column)
        parts = [self._attend(q, row_block, column + 1)]
        filled = row * self.map_size[1]
        for block in state["blocks"]:
            parts.append(attend(block, filled))
            filled = filled - block["keys"].shape[-1]
        # Combine the softmaxes of the parts into one over all of them.
        maxima, totals, values = zip(*parts, strict=True)
        largest = functools.reduce(ops.maximum, maxima)
        shares = [ops.exp(part - largest) for part in maxima]
        total, y = (sum(map(ops.multiply, shares, x)) for x in (totals, values))
        y = ops.cast(y / total, q.dtype)
        return ops.reshape(y, (-1, self.units)), {**state, "row": row_block}

    def _write(self, block, new, position):
        """A block with new keys and values, starting at a position."""
        starts = {"keys": (0, 0, 0, position), "values": (0, 0, position, 0)}
        return {
            name: ops.slice_update(block[name], start, new[name])
            for name, start in starts.items()
        }

    def _attend(self, q, block, count):
        """Attention of `[B, heads, D]` to the first `count` positions.

        Returns:
            Tuple, float32: the largest logit `[B, heads, 1]`; the sum of the
            exponentials of the logits `[B, heads, 1]` and the values weighted
            by these exponentials `[B, heads, D]`, both divided by the
            exponential of the largest logit.
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

"""Keys and values of the positions so far, of causal attention over a map."""

import functools

from keras import ops


class KeyValueCache:
    """Attention of one position after another to all that came before.

    The keys and values of the current row are separate from those of the rows
    above, which change once a row. Those of a prefix, which all positions
    attend to, never change.

    Args:
        map_size: Height and width of the map.
        heads: Number of heads.
        head_units: D, width of a head.
        dtype: dtype of the keys and values.
    """

    def __init__(self, map_size, heads, head_units, dtype):
        self.map_size = tuple(map_size)
        self.heads = heads
        self.head_units = head_units
        self.dtype = dtype

    def initial_state(self, batch_size, key_block=256, prefix=None):
        """State before the first row.

        Args:
            batch_size: B.
            key_block: Number of positions in each block of cached keys and
                values of the rows above, rounded down to whole rows but at
                least one row. `step` skips empty blocks.
            prefix: Tuple of the prefix's keys and values, `[B, heads, S, D]`;
                None without one.

        Returns:
            dict: `blocks`, list of dicts of `keys` `[B, heads, D, P]` and
            `values` `[B, heads, P, D]`, of P positions each, filled down to
            the row above; `row`, one such dict of the current row, filled up
            to the current position; `prefix`, one of the prefix, if there is
            one.
        """
        height, width = self.map_size

        def zeros(rows):
            shape = (batch_size, self.heads, self.head_units, rows * width)
            keys = ops.zeros(shape, self.dtype)
            return {"keys": keys, "values": ops.swapaxes(keys, 2, 3)}

        rows = max(key_block // width, 1)
        # No later row attends to the last row.
        starts = range(0, height - 1, rows)
        state = {
            "blocks": [zeros(min(rows, height - 1 - i)) for i in starts],
            "row": zeros(1),
        }
        if prefix is not None:
            keys, values = prefix
            keys = ops.swapaxes(keys, 2, 3)
            state["prefix"] = {"keys": keys, "values": values}
        return state

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

    def step(self, state, q, k, v, row, column):
        """Attention of a position to itself and all before it.

        Args:
            state: State with all earlier positions.
            q: `[B, heads, D]`, its query, scaled.
            k: `[B, heads, D]`, its key.
            v: `[B, heads, D]`, its value.
            row: int32 scalar.
            column: int32 scalar.

        Returns:
            Tuple of the output `[B, heads, D]` and the state.
        """

        def attend(block, filled):
            return ops.cond(
                filled > 0,
                lambda: self._attend(q, block, filled),
                lambda: self._attend_to_nothing(q),
            )

        here = {"keys": k[..., None], "values": v[:, :, None]}
        row_block = self._write(state["row"], here, column)
        parts = [self._attend(q, row_block, column + 1)]
        if "prefix" in state:
            prefix = state["prefix"]
            parts.append(self._attend(q, prefix, prefix["keys"].shape[-1]))
        filled = row * self.map_size[1]
        for block in state["blocks"]:
            parts.append(attend(block, filled))
            filled = filled - block["keys"].shape[-1]
        # Combine the softmaxes of the parts into one over all of them.
        maxima, totals, values = zip(*parts, strict=True)
        largest = functools.reduce(ops.maximum, maxima)
        shares = [ops.exp(part - largest) for part in maxima]
        total, y = (sum(map(ops.multiply, shares, x)) for x in (totals, values))
        return ops.cast(y / total, q.dtype), {**state, "row": row_block}

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

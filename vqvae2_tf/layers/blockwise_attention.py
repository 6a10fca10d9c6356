"""Causal attention that never has all logits of a large map in memory."""

from keras import ops

from vqvae2_tf.layers.dropout import is_kept
from vqvae2_tf.layers.recomputation import DrawnSeed
from vqvae2_tf.layers.recomputation import zero_after

# Most weights a sample, over all heads, that are kept for the gradient: those
# of 16x16 positions and 8 heads are a quarter of it, of 32x32 four times it. So
# are as many of dropout's decisions: those of 32x32 are half of it.
MOST_KEPT = 2**21


def blockwise_attention(
    q, k, v, query_block=128, logits_dropout=None, in_order=True
):
    """Causal attention in blocks of queries.

    Each position attends to itself and to all earlier positions. Each block of
    queries has the keys up to the block's end; where all weights are many, its
    gradient computes its weights again. It waits for the previous block, in the
    forward and in the backward pass: otherwise TensorFlow computes all blocks
    at once. Softmax is float32.

    Dropout drops a pair of positions in all heads, as Flax' attention does by
    default: a mask a head takes longer to draw than its logits to compute.

    Args:
        q: `[B, heads, P, D]` float, queries, scaled.
        k: `[B, heads, P, D]`, keys.
        v: `[B, heads, P, D]`, values.
        query_block: Positions whose logits are computed at once.
        logits_dropout: `keras.layers.Dropout` whose rate and random numbers
            the logits have, or None.
        in_order: Whether blocks wait for each other. XLA needs no waiting, and
            on a CPU takes minutes to compile it.

    Returns:
        `[B, heads, P, D]` of the dtype of `v`.
    """
    positions = q.shape[2]
    rate = logits_dropout.rate if logits_dropout else 0.0
    blocks = [
        (start, min(start + query_block, positions))
        for start in range(0, positions, query_block)
    ]
    seeds = [
        DrawnSeed(logits_dropout.seed_generator) if rate else None
        for _ in blocks
    ]

    def sliced(x, start, stop, before):
        """`x[:, :, start:stop]`, computed after `before`."""
        if not in_order or stop - start == positions:
            return x[:, :, start:stop]
        batch, heads, count, size = ops.shape(x)
        start_then = ops.minimum(
            start + zero_after(before, "int32"), count - (stop - start)
        )
        return ops.slice(
            x, (0, 0, start_then, 0), (batch, heads, stop - start, size)
        )

    def decisions_of(start, stop, seed, before):
        """The pairs of a block that dropout keeps, `[B, 1, *, stop]` bool."""
        if not rate:
            return None
        shape = (ops.shape(q)[0], 1, stop - start, stop)
        return is_kept(shape, rate, seed.after(before))

    def drop(logits, decisions):
        if decisions is None:
            return logits
        return logits * (ops.cast(decisions, "float32") / (1.0 - rate))

    def inputs_of(q, k, v, start, stop, before):
        """A block's queries, and the keys and values that they attend to."""
        queries = sliced(q, start, stop, before)
        return queries, *(sliced(x, 0, stop, before) for x in (k, v))

    def weights_of(queries, keys, start, stop, decisions):
        """A block's weights, `[B, heads, stop - start, stop]` float32."""
        logits = ops.einsum("bhqd,bhkd->bhqk", queries, keys)
        logits = drop(ops.cast(logits, "float32"), decisions)
        is_later = ops.arange(stop) > ops.arange(start, stop)[:, None]
        return ops.softmax(logits - 1e30 * ops.cast(is_later, "float32"))

    keeps_weights = q.shape[1] * positions**2 <= MOST_KEPT
    keeps_decisions = positions**2 <= MOST_KEPT

    @ops.custom_gradient
    def attend(q, k, v):
        attended, kept = [], []
        for (start, stop), seed in zip(blocks, seeds, strict=True):
            before = attended[-1] if attended else q
            queries, keys, values = inputs_of(q, k, v, start, stop, before)
            decisions = decisions_of(start, stop, seed, before)
            weights = weights_of(queries, keys, start, stop, decisions)
            kept.append(
                (
                    weights if keeps_weights else None,
                    decisions if keeps_decisions else None,
                )
            )
            weights = ops.cast(weights, values.dtype)
            attended.append(ops.einsum("bhqk,bhkd->bhqd", weights, values))

        def gradient(d_attended):
            dq, dk, dv = [], [], []
            # Gradients of the keys and values from later queries.
            dk_rest = dv_rest = 0.0
            for (start, stop), seed, (weights, decisions), output in zip(
                *(x[::-1] for x in (blocks, seeds, kept, attended)),
                strict=True,
            ):
                before = dq[-1] if dq else d_attended
                upstream = sliced(d_attended, start, stop, before)
                queries, keys, values = inputs_of(q, k, v, start, stop, before)
                if decisions is None:
                    decisions = decisions_of(start, stop, seed, before)
                if weights is None:
                    weights = weights_of(queries, keys, start, stop, decisions)
                d_weights = ops.einsum("bhqd,bhkd->bhqk", upstream, values)
                d_weights = ops.cast(d_weights, "float32")
                # The sum of weights * d_weights, from what they gave.
                total = ops.sum(
                    ops.cast(upstream, "float32") * ops.cast(output, "float32"),
                    axis=-1,
                    keepdims=True,
                )
                # Dropout is linear: its gradient is the same dropout.
                d_logits = drop(weights * (d_weights - total), decisions)
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

    return attend(q, k, v)

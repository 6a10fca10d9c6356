"""Top-k and top-p: the unlikely codes are left out of sampling.

Both numbers may be tensors, so that a compiled sampler serves all of them.
"""

from keras import ops

# Below any logit plus noise, and finite.
_NEVER = -1e30


def keep_top_k(logits, k):
    """Leaves the k likeliest codes (and any as likely as the last of them).

    Args:
        logits: `[..., K]` float32.
        k: int or integer scalar tensor, 1 or more; K or more leaves all.

    Returns:
        `[..., K]` float32, very negative where a code is left out.
    """
    num_codes = logits.shape[-1]

    def cut():
        ordered = ops.sort(logits, axis=-1)
        is_kept = ops.arange(num_codes) >= num_codes - k
        # Of a tensor below 1, which nobody checked, the likeliest is left.
        lowest = ops.min(
            ops.where(is_kept, ordered, ordered[..., -1:]),
            axis=-1,
            keepdims=True,
        )
        return ops.where(logits < lowest, _NEVER, logits)

    return ops.cond(k < num_codes, cut, lambda: logits)


def keep_top_p(logits, p):
    """Leaves the likeliest codes that together reach a probability.

    Nucleus sampling (Holtzman et al., 2020): the fewest codes whose
    probabilities add up to p or more, and any as likely as the last of them.

    Args:
        logits: `[..., K]` float32.
        p: float or scalar tensor in (0, 1]; 1 leaves all.

    Returns:
        `[..., K]` float32, very negative where a code is left out.
    """

    def cut():
        ordered = ops.flip(ops.sort(logits, axis=-1), axis=-1)
        probabilities = ops.softmax(ordered, axis=-1)
        before = ops.cumsum(probabilities, axis=-1) - probabilities
        lowest = ops.min(
            ops.where(before < p, ordered, ordered[..., :1]),
            axis=-1,
            keepdims=True,
        )
        return ops.where(logits < lowest, _NEVER, logits)

    return ops.cond(p < 1, cut, lambda: logits)

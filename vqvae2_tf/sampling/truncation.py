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
        k: int or integer scalar tensor; 0, or K or more, leaves all.

    Returns:
        `[..., K]` float32, very negative where a code is left out.
    """
    num_codes = logits.shape[-1]
    is_cut = ops.logical_and(k > 0, k < num_codes)
    return _truncated(logits, is_cut, lambda _: ops.arange(num_codes) < k)


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

    def kept(ordered):
        probabilities = ops.softmax(ordered, axis=-1)
        return ops.cumsum(probabilities, axis=-1) - probabilities < p

    return _truncated(logits, p < 1, kept)


def _truncated(logits, is_cut, kept):
    """Logits from the lowest that is kept, if any are cut.

    Args:
        logits: `[..., K]` float32.
        is_cut: bool, or scalar tensor.
        kept: Function of descending logits: which to keep, `[..., K]` bool.
    """

    def cut():
        ordered = ops.flip(ops.sort(logits, axis=-1), axis=-1)
        likeliest = ops.where(kept(ordered), ordered, ordered[..., :1])
        lowest = ops.min(likeliest, axis=-1, keepdims=True)
        return ops.where(logits < lowest, _NEVER, logits)

    return ops.cond(is_cut, cut, lambda: logits)

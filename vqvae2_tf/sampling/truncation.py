"""Top-k and top-p: the unlikely codes are left out of sampling."""

from keras import ops

# Below any logit plus noise, and finite.
_NEVER = -1e30


def keep_top_k(logits, k):
    """Leaves the k likeliest codes (and any as likely as the last of them).

    Args:
        logits: `[..., K]` float32.
        k: int, 1 or more.

    Returns:
        `[..., K]` float32, very negative where a code is left out.
    """
    if k >= logits.shape[-1]:
        return logits
    lowest = ops.top_k(logits, k)[0][..., -1:]
    return ops.where(logits < lowest, _NEVER, logits)


def keep_top_p(logits, p):
    """Leaves the likeliest codes that together reach a probability.

    Nucleus sampling (Holtzman et al., 2020): the fewest codes whose
    probabilities add up to p or more, and any as likely as the last of them.

    Args:
        logits: `[..., K]` float32.
        p: Float or scalar tensor in (0, 1].

    Returns:
        `[..., K]` float32, very negative where a code is left out.
    """
    ordered = ops.flip(ops.sort(logits, axis=-1), axis=-1)
    probabilities = ops.softmax(ordered, axis=-1)
    before = ops.cumsum(probabilities, axis=-1) - probabilities
    lowest = ops.min(
        ops.where(before < p, ordered, ordered[..., :1]),
        axis=-1,
        keepdims=True,
    )
    return ops.where(logits < lowest, _NEVER, logits)

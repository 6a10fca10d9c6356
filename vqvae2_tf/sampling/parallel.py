"""Many codes at once, and the rest again from those that are kept."""

import math

import numpy as np
from keras import ops

from vqvae2_tf.flags import Flag

# Each step has numbers of its own for the codes and for the choice, of 256.
_MOST_STEPS = 128

DECODING_FLAGS = (
    Flag(
        "decoding_steps",
        12,
        "Steps in which parallel decoding draws a map.",
        1,
        _MOST_STEPS,
    ),
    Flag(
        "decoding_order",
        "confidence",
        "Which codes parallel decoding keeps first: the likeliest drawn ones, "
        "or those that come first in the Halton sequence.",
        choices=("confidence", "halton"),
    ),
    Flag(
        "choice_temperature",
        4.5,
        "Noise on the confidence at the first step; 0 for none.",
        0.0,
        1000.0,
    ),
)


def draw(
    logits_of,
    head,
    level,
    noise,
    known=None,
    known_mask=None,
    decoding_steps=12,
    decoding_order=0,
    choice_temperature=4.5,
    **kwargs,
):
    """Draws code maps in a number of steps (MaskGIT: Chang et al., 2022).

    Step t of T, from 1 on, draws a code for every unknown position, and masks
    some of them again; the maps are those of the last step, whole. Of the n
    positions of a sample that were unknown at first, floor(n cos(pi t / 2T))
    are masked again, but at least one and fewer than are unknown now: those of
    the lowest confidence. It is the code's log probability plus Gumbel noise
    times `choice_temperature` (1 - t / T), as in Google's code. In the Halton
    order (Besnier et al., 2025) it is instead the place in a fixed sequence
    that spreads over the map, without noise.

    Args:
        logits_of: Function of codes `[B, H, W]` int32, K where they are masked,
            and of the progress, 0 at the first step and 1 at the last, a
            float32 scalar. Gives logits `[B, H, W, K]` float32.
        head: `priors.heads.CategoricalHead`.
        level: `Level` of the maps, of K codes.
        noise: `Noise`; a step takes two of its steps' numbers.
        known: `[B, H, W]` codes of which some are kept, or None.
        known_mask: `[B, H, W]` bool, where they are kept.
        decoding_steps: T, int or int32 scalar tensor, at most 128.
        decoding_order: int or int32 scalar tensor: 0 for the confidence, 1 for
            the Halton order.
        choice_temperature: number or scalar tensor.
        **kwargs: Options of `head.draw`.

    Returns:
        Codes `[B, H, W]` int32.
    """
    shape = (noise.batch_size, level.num_positions)
    map_shape = (noise.batch_size, *level.size)
    masked = level.num_codes
    codes = ops.full(shape, masked, "int32")
    if known is not None:
        is_known = ops.reshape(known_mask, shape)
        codes = ops.where(is_known, ops.reshape(known, shape), codes)
    positions = ops.arange(level.num_positions, dtype="int32")
    halton = -ops.convert_to_tensor(halton_ranks(*level.size), "float32")
    at_first = _count(ops.equal(codes, masked))
    decoding_steps = ops.convert_to_tensor(decoding_steps, "int32")
    total = ops.cast(decoding_steps, "float32")

    def step(number, carry):
        codes, _ = carry
        is_unknown = ops.equal(codes, masked)
        done = ops.cast(number, "float32")
        # A single step is the last.
        progress = ops.where(
            total > 1, done / ops.maximum(total - 1.0, 1.0), 1.0
        )
        logits = logits_of(ops.reshape(codes, map_shape), progress)
        logits = ops.reshape(logits, (*shape, masked))
        numbers = head.random_numbers(noise, positions, 2 * number)
        drawn = head.draw(logits, numbers, **kwargs)
        drawn = ops.where(is_unknown, drawn, codes)
        share = (done + 1.0) / total
        chosen = noise.gumbel(positions, 1, 2 * number + 1)[..., 0]
        chosen = chosen * choice_temperature * (1.0 - share)
        likely = -head.nll(logits, drawn)
        confidence = ops.where(
            ops.equal(decoding_order, 1), halton, likely + chosen
        )
        # Known ones are never masked.
        confidence = ops.where(is_unknown, confidence, math.inf)
        again = num_masked(at_first, _count(is_unknown), share)
        is_masked = ops.logical_and(is_unknown, lowest(confidence, again))
        return ops.where(is_masked, masked, drawn), drawn

    _, drawn = ops.fori_loop(0, decoding_steps, step, (codes, codes))
    return ops.reshape(drawn, map_shape)


def num_masked(at_first, now, share):
    """How many codes a step masks again, of each sample.

    Args:
        at_first: `[B, 1]` int32, unknown before the first step.
        now: `[B, 1]` int32, unknown before this step.
        share: Share of the steps that are done after this one, float32 scalar.

    Returns:
        `[B, 1]` int32.
    """
    # A whole number may be rounded to just below it.
    kept = ops.cast(at_first, "float32") * ops.cos(math.pi / 2 * share) + 1e-2
    count = ops.cast(ops.floor(kept), "int32")
    return ops.maximum(ops.minimum(count, now - 1), 1)


def lowest(values, count):
    """Where the lowest numbers of each row are.

    Args:
        values: `[B, P]`.
        count: `[B, 1]` int32, how many.

    Returns:
        `[B, P]` bool, `count` of them true; of equal numbers the first ones.
    """
    ranks = ops.argsort(ops.argsort(values, axis=-1), axis=-1)
    return ops.cast(ranks, "int32") < count


def halton_ranks(height, width):
    """The place of each position in the Halton sequence of bases 2 and 3.

    Its points (Halton, 1960) spread evenly over the map from the first on; a
    position's place is that of the first point that falls on it.

    Args:
        height: H.
        width: W.

    Returns:
        NumPy `[H * W]` int, a permutation in raster order.
    """
    count = 4 * height * width
    while True:
        numbers = np.arange(1, count + 1)
        rows = _mirrored(numbers, 2, height)
        columns = _mirrored(numbers, 3, width)
        found, first = np.unique(rows * width + columns, return_index=True)
        if len(found) == height * width:
            return np.argsort(np.argsort(first))
        count *= 2


def _mirrored(numbers, base, size):
    """Whole numbers with their digits after the point, in turn, times a size.

    Rounded down, exactly: 3 in base 2 is 0.11, three quarters of the size.
    """
    mirrored, whole = np.zeros_like(numbers), 1
    while np.any(numbers):
        mirrored = mirrored * base + numbers % base
        numbers = numbers // base
        whole *= base
    return mirrored * size // whole


def _count(is_so):
    return ops.sum(ops.cast(is_so, "int32"), axis=-1, keepdims=True)

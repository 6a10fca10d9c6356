"""Code maps that a run's priors drew, beside held-out ones."""

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from vqvae2_tf.evaluation.code_statistics import CodeCounts
from vqvae2_tf.evaluation.code_statistics import code_divergences
from vqvae2_tf.level import Level
from vqvae2_tf.training.loop import Examples

_BATCH = 256


def compare_codes(
    drawn: Mapping[str, np.ndarray],
    held_out: Examples,
    levels: Sequence[Level],
    labels: Sequence[int] | None = None,
) -> dict[str, float]:
    """Jensen-Shannon divergences of sampled and held-out code maps, in bits.

    All are of n sampled and n held-out maps, or for the floor of n and n
    held-out ones, as divergences of fewer maps are larger. n is the number of
    sampled maps, or half that of the held-out ones if this is less.

    Args:
        drawn: Sampled maps `[N, *level.shape]` by the level's name.
        held_out: Held-out codes, of which the first 2n are taken.
        levels: Their `Level`s, coarsest first.
        labels: Classes that the samples are of: held-out maps of others are
            left out. None for all.

    Returns:
        For each level of codes `<level>_code_divergence`, of the codes'
        frequencies; `<level>_pair_divergence`, of neighbouring pairs, the mean
        of those side by side and those one above the other; and both with
        `_floor` after their names. Besides `code_divergence_count`, which is n.
        Nothing if there are not two held-out maps.
    """
    total = len(drawn[levels[0].name])
    maps = _held_out_maps(held_out, 2 * total, labels)
    n = min(total, len(maps[0]) // 2)
    if not n:
        return {}
    # Of all classes alike.
    chosen = np.arange(n) * total // n
    metrics = {}
    for level, own in zip(levels, maps, strict=True):
        if not level.num_codes:
            continue
        one, other = (CodeCounts([own[half : 2 * n : 2]]) for half in (0, 1))
        sampled = CodeCounts([drawn[level.name][chosen]])
        for ending, counts in (("", sampled), ("_floor", other)):
            found = code_divergences(counts, one)
            key = f"{level.name}_code_divergence{ending}"
            metrics[key] = found.pop("codes")
            pairs = [x for x in found.values() if not np.isnan(x)]
            if pairs:
                key = f"{level.name}_pair_divergence{ending}"
                metrics[key] = float(np.mean(pairs))
    return {**metrics, "code_divergence_count": n}


def _held_out_maps(held_out, most, labels):
    """The first maps of these classes, at most so many, a level each."""
    blocks, count = [], 0
    for batch in held_out.evaluation_arrays(_BATCH):
        is_taken = np.asarray(batch["weight"]) > 0
        if labels is not None:
            is_taken &= np.isin(batch["label"], labels)
        blocks.append([np.asarray(maps)[is_taken] for maps in batch["codes"]])
        count += int(is_taken.sum())
        if count >= most:
            break
    return [np.concatenate(parts)[:most] for parts in zip(*blocks, strict=True)]

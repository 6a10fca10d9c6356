"""Code maps that a run's priors drew, beside held-out ones."""

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from vqvae2_tf.evaluation.code_statistics import compare_maps
from vqvae2_tf.level import Level
from vqvae2_tf.training.loop import Examples

_BATCH = 256
# Of the choice of maps.
_SEED = 0


def compare_codes(
    drawn: Mapping[str, np.ndarray],
    held_out: Examples,
    levels: Sequence[Level],
    labels: Sequence[int] | None = None,
) -> dict[str, float]:
    """Jensen-Shannon divergences of sampled and held-out code maps, in bits.

    See `code_statistics.compare_maps`.

    Args:
        drawn: Sampled maps `[m, *level.shape]` by the level's name.
        held_out: Held-out codes, of which the first 2m are taken.
        levels: Their `Level`s, coarsest first.
        labels: Classes that the samples are of: held-out maps of others are
            left out. None for all.

    Returns:
        For each level of codes `<level>_code_divergence`, of the codes'
        frequencies; `<level>_pair_divergence`, of neighbouring pairs, the mean
        of those side by side and those one above the other; and both with
        `_floor` after their names, of held-out maps from others. Besides
        `code_divergence_count`, the number of maps on either side. Nothing if
        there are not two held-out maps.
    """
    total = len(drawn[levels[0].name])
    maps = _held_out_maps(held_out, 2 * total, labels)
    if len(maps[0]) < 2:
        return {}
    metrics = {}
    for level, own in zip(levels, maps, strict=True):
        if not level.num_codes:
            continue
        count, found = compare_maps(drawn[level.name], own, _SEED)
        codes = found.pop("codes")
        for kind, parts in (("code", [codes]), ("pair", found.values())):
            if parts:
                value, _, floor = np.mean(list(parts), axis=0)
                name = f"{level.name}_{kind}_divergence"
                metrics |= {name: float(value), f"{name}_floor": float(floor)}
    return {**metrics, "code_divergence_count": count} if metrics else {}


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

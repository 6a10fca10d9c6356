"""Sampled code maps beside held-out ones, without any network."""

from collections.abc import Iterable

import numpy as np

from vqvae2_tf.evaluation import neighbours

_CHOICES = 10
# Maps counted at once.
_BLOCK = 256


class CodeCounts:
    """How often codes, and pairs of neighbouring codes, occur in maps.

    Args:
        maps: Blocks `[n, H, W]` of code maps of one level.

    Attributes:
        count: Number of maps.
        counts: By `codes`, `right` (a code and the one to its right) and
            `below`: the keys that occur, sorted, and how often, both `[n]`.
            The key of a pair is `first << 32 | second`.
    """

    def __init__(self, maps: Iterable[np.ndarray] = ()):
        self.count = 0
        empty = np.empty(0, "int64")
        self.counts = dict.fromkeys(("codes", "right", "below"), (empty, empty))
        for block in maps:
            self.update(block)

    def update(self, maps: np.ndarray) -> None:
        """Adds code maps `[n, H, W]`."""
        maps = np.asarray(maps, "int64")
        self.count += len(maps)
        pairs = {
            "codes": maps,
            "right": maps[:, :, :-1] << 32 | maps[:, :, 1:],
            "below": maps[:, :-1] << 32 | maps[:, 1:],
        }
        for name, keys in pairs.items():
            new = np.unique(keys, return_counts=True)
            earlier, counts = self.counts[name]
            keys, places = np.unique(
                np.concatenate([earlier, new[0]]), return_inverse=True
            )
            weights = np.concatenate([counts, new[1]])
            total = np.bincount(places, weights, len(keys)).astype("int64")
            self.counts[name] = keys, total


def code_divergences(one: CodeCounts, other: CodeCounts) -> dict[str, float]:
    """Jensen-Shannon divergences of two sets of code maps, in bits.

    0 if the frequencies are the same, 1 if no code, or pair of codes, is in
    both. Finite sets differ by chance, by pairs more than by codes: compare
    with two halves of the held-out maps, and at equal numbers of maps.

    Args:
        one: Counts of the sampled maps of a level.
        other: Counts of the held-out maps of the same level.

    Returns:
        The divergence by `codes`, and by the pairs `right` and `below`; NaN
        for pairs that the maps are too small to have.
    """
    return {
        name: _divergence(one.counts[name], other.counts[name])
        for name in one.counts
    }


def compare_maps(
    samples: np.ndarray, held_out: np.ndarray, seed: int
) -> tuple[int, dict[str, tuple[float, float, float]]]:
    """Divergences of samples and held-out maps, all of equally many maps.

    The mean over ten choices: at random n samples and two disjoint parts of n
    held-out maps, n being half of the held-out maps, or all samples if these
    are fewer.

    Args:
        samples: `[m, H, W]`, one or more.
        held_out: `[n, H, W]`, two or more.
        seed: Of the choices.

    Returns:
        Tuple of n, and by the names of `code_divergences` the mean divergence
        of samples from a part, its standard deviation over the choices, and the
        mean divergence of the two parts, the floor. Pairs that the maps are too
        small to have are left out.
    """
    count = min(len(samples), len(held_out) // 2)
    found = {}
    for number in range(_CHOICES):
        random = np.random.RandomState([seed, number])
        chosen = random.permutation(len(samples))[:count]
        order = random.permutation(len(held_out))
        sampled = _counted(samples, chosen)
        one = _counted(held_out, order[:count])
        other = _counted(held_out, order[count : 2 * count])
        floors = code_divergences(one, other)
        for name, value in code_divergences(sampled, one).items():
            found.setdefault(name, []).append((value, floors[name]))
    results = {}
    for name, pairs in found.items():
        values, floors = np.transpose(pairs)
        if np.isfinite(values).all():
            means = values.mean(), values.std(), floors.mean()
            results[name] = tuple(map(float, means))
    return count, results


def _counted(maps, numbers):
    parts = neighbours.blocks(len(numbers), _BLOCK)
    return CodeCounts(maps[numbers[part]] for part in parts)


def _divergence(one, other):
    keys = np.union1d(one[0], other[0])
    shares = np.zeros((2, len(keys)))
    for row, (own, counts) in zip(shares, (one, other), strict=True):
        if not counts.sum():
            return float("nan")
        row[np.searchsorted(keys, own)] = counts / counts.sum()
    return float(
        _entropy(shares.mean(axis=0))
        - np.mean([_entropy(row) for row in shares])
    )


def _entropy(shares):
    shares = shares[shares > 0]
    return -np.sum(shares * np.log2(shares))

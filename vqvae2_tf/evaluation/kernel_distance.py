"""Kernel distance of two sets of features (KID)."""

from typing import NamedTuple

import numpy as np


class KernelDistance(NamedTuple):
    """The mean over subsets, and how far it is determined by them.

    Attributes:
        value: Mean; it is unbiased, and so may be below zero.
        standard_error: Of the mean over the draws of subsets; NaN if these are
            all of both sets.
        deviation: Standard deviation of the subsets' values.
    """

    value: float
    standard_error: float
    deviation: float


def kernel_distance(
    features: np.ndarray,
    others: np.ndarray,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> KernelDistance:
    """Squared maximum mean discrepancy, unbiased (Bińkowski et al. 2018).

    With the kernel (x'y / D + 1)³, the mean over subsets of 1,000 rows of each
    set, without replacement, in float64. A smaller set gives subsets of all of
    its rows. Subsets are drawn as torch-fidelity draws them.

    Args:
        features: `[n, D]`, or rows that are indexed as an array.
        others: `[m, D]`, likewise.
        subsets: How many pairs of subsets.
        subset_size: Rows of a subset, at most.
        seed: Of the subsets.

    Raises:
        ValueError: If the dimensions differ or a set has fewer than two rows.
    """
    n, m = len(features), len(others)
    if min(n, m) < 2 or features.shape[1:] != others.shape[1:]:
        raise ValueError(
            "Expected at least 2 rows of features, of equal dimensions. "
            f"Received: {features.shape} and {others.shape}"
        )
    rng = np.random.RandomState(seed)
    size = min(n, m, subset_size)
    draws = [
        (
            rng.choice(n, size, replace=False),
            rng.choice(m, size, replace=False),
        )
        for _ in range(subsets)
    ]
    # Where the sets are small, the kernel of all rows costs less than those of
    # the subsets, which overlap.
    all_at_once = n * m < subsets * size**2
    find = _of_all_rows if all_at_once else _of_each_subset
    values = list(find(features, others, draws))
    deviation = float(np.std(values))
    # Subsets that are all one set do not tell.
    error = np.nan if n == m == size else deviation / np.sqrt(subsets)
    return KernelDistance(float(np.mean(values)), float(error), deviation)


def _kernel(x, y):
    product = x @ y.T
    product /= x.shape[1]
    product += 1.0
    return product * product * product


def _of_each_subset(features, others, draws):
    for rows, other_rows in draws:
        x = np.asarray(features[rows], "float64")
        y = np.asarray(others[other_rows], "float64")
        within = sum(
            kernel.sum() - np.trace(kernel)
            for kernel in (_kernel(x, x), _kernel(y, y))
        )
        across = _kernel(x, y).mean()
        yield within / (len(x) * (len(x) - 1)) - 2 * across


def _of_all_rows(features, others, draws):
    """The same out of sums over all rows, weighted by each subset's choice."""
    x = np.asarray(features[:], "float64")
    y = np.asarray(others[:], "float64")
    choices, other_choices = (np.zeros((len(z), len(draws))) for z in (x, y))
    for i, (rows, other_rows) in enumerate(draws):
        choices[rows, i] = 1.0
        other_choices[other_rows, i] = 1.0

    def sums(x, y, left, right, diagonal):
        total = 0.0
        for start in range(0, len(x), 1024):
            part = slice(start, start + 1024)
            kernel = _kernel(x[part], y)
            if not diagonal:
                kernel[np.arange(len(kernel)), np.arange(len(x))[part]] = 0.0
            total += (left[part] * (kernel @ right)).sum(axis=0)
        return total

    size = len(draws[0][0])
    within = sums(x, x, choices, choices, False)
    within += sums(y, y, other_choices, other_choices, False)
    across = sums(x, y, choices, other_choices, True)
    return within / (size * (size - 1)) - 2 * across / size**2

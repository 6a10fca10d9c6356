"""Improved precision and recall, and realism (Kynkäänniemi et al. 2019)."""

from typing import NamedTuple

import numpy as np

from vqvae2_tf.evaluation import neighbours

# Neighbours beyond the k-th that are kept, so that the k-th is among them.
_SPARE = 8


class PrecisionRecall(NamedTuple):
    """What two sets of features share.

    Attributes:
        precision: Share of the samples inside the originals' manifold.
        recall: Share of the originals inside the samples' manifold.
        realism: `[n]` float64, of each sample: above 1 is inside.
    """

    precision: float
    recall: float
    realism: np.ndarray


def precision_recall(
    samples: np.ndarray,
    originals: np.ndarray,
    k: int = 3,
    block: int = neighbours.BLOCK,
) -> PrecisionRecall:
    """Precision, recall and realism of samples.

    The manifold of a set is the balls about its members that reach their k-th
    nearest neighbours, k = 3; what lies on a ball's surface is inside. Realism
    is the largest ratio of a ball's radius to the distance to its centre, over
    the originals' balls up to their median radius. The papers take 50,000
    images of each set, and the features `fc2` of VGG-16.

    All pairs are compared, a block of each set at a time: 50,000 images of
    2,048 features need less than 1 GiB beside the features. They are compared
    in float32, and in float64 where the error of float32 could decide, so that
    precision and recall are exact; a realism's ball is chosen in float32.

    Args:
        samples: `[n, D]` features, indexed by slices.
        originals: `[m, D]`, likewise.
        k: Which neighbour a ball reaches.
        block: Rows of each set at once.

    Raises:
        ValueError: If a set has no k-th neighbour, or the dimensions differ.
    """
    n, m = len(samples), len(originals)
    if min(n, m) <= k or samples.shape[1:] != originals.shape[1:]:
        raise ValueError(
            f"Expected at least {k + 1} rows of features of each set, of equal "
            f"dimensions. Received: {samples.shape} and {originals.shape}"
        )
    centre = neighbours.centre_of(originals, block)
    radii, edges = _balls(originals, k, centre, block)
    _, sample_edges = _balls(samples, k, centre, block)
    # Balls of outliers are wide: an image of any kind would look real there.
    radii[radii > np.median(radii)] = 0.0
    inside, covered = np.zeros(n, bool), np.zeros(m, bool)
    best, ball = np.full(n, -1.0), np.zeros(n, "int64")
    for rows in neighbours.blocks(n, block):
        some, some_edges = samples[rows], sample_edges[rows]
        some_centred = neighbours.centred(some, centre)
        for others in neighbours.blocks(m, block):
            pair = some, originals[others]
            squared, error = neighbours.estimated_distances(
                some_centred, neighbours.centred(pair[1], centre)
            )
            found = _within(
                squared,
                error,
                edges[others],
                some_edges,
                inside[rows],
                covered[others],
                pair,
                centre,
            )
            inside[rows], covered[others] = found
            # Nothing is at 0 / 0: an original of radius 0 has a copy.
            np.maximum(squared, np.finfo("float32").tiny, out=squared)
            with np.errstate(over="ignore"):
                ratios = radii[others].astype("float32") / squared
            which = ratios.argmax(axis=1)
            ratios = np.take_along_axis(ratios, which[:, None], axis=1)[:, 0]
            better = ratios > best[rows]
            best[rows][better] = ratios[better]
            ball[rows][better] = which[better] + others.start
    squared = neighbours.distances_of_pairs(
        samples, originals, np.arange(n), ball
    )
    squared = np.maximum(squared, np.finfo("float64").tiny)
    return PrecisionRecall(
        float(inside.mean()),
        float(covered.mean()),
        np.sqrt(radii[ball] / squared),
    )


def _within(squared, error, edges, some_edges, inside, covered, pair, centre):
    """Which rows lie in a ball: of a block of samples, and of originals."""
    some_edges = some_edges[:, None]

    def within(margin):
        """In float32, with room for `error` below the balls' edges or above."""
        for limits in (edges + margin, some_edges + margin):
            yield squared <= limits.astype("float32")

    surely_inside, surely_covered = within(-error)
    inside = inside | surely_inside.any(axis=1)
    covered = covered | surely_covered.any(axis=0)
    maybe_inside, maybe_covered = within(error)
    doubtful = maybe_inside & ~inside[:, None]
    doubtful |= maybe_covered & ~covered
    i, j = np.nonzero(doubtful)
    if len(i) > doubtful.size // 100:
        exact = neighbours.squared_distances(*pair, centre)
        inside |= (exact <= edges).any(axis=1)
        covered |= (exact <= some_edges).any(axis=0)
    elif len(i):
        exact = neighbours.distances_of_pairs(*pair, i, j)
        inside[i[exact <= edges[j]]] = True
        covered[j[exact <= some_edges[i, 0]]] = True
    return inside, covered


def _balls(rows, k, centre, block):
    """Squared distances `[n]` to the k-th neighbours, and to the balls' edges.

    An edge is a rounding error further out, so that equal distances are equal.
    """
    radii = _kth_distances(rows, k, centre, block)
    norms = []
    for part in neighbours.blocks(len(rows), block):
        off = rows[part] - centre.astype(rows.dtype)
        norms.append(np.einsum("ij,ij->i", off, off))
    slack = neighbours.ROUNDING * 4 * (np.concatenate(norms) + radii)
    return radii, radii + slack


def _kth_distances(rows, k, centre, block):
    """Squared distance `[n]` of each row to its k-th neighbour.

    A few more than k neighbours are kept by their distances in float32. Rows
    for which these could have missed one are done again in float64.
    """
    kept = min(k + _SPARE, len(rows) - 1)
    best = np.full((len(rows), kept), np.inf, "float32")
    which = np.zeros((len(rows), kept), "int64")
    parts = list(neighbours.blocks(len(rows), block))
    largest = 0.0

    def keep(part, squared, first):
        count = min(kept, squared.shape[1])
        near = np.argpartition(squared, count - 1, axis=1)[:, :count]
        both = np.concatenate(
            [best[part], np.take_along_axis(squared, near, axis=1)], axis=1
        )
        numbers = np.concatenate([which[part], near + first], axis=1)
        near = np.argpartition(both, kept - 1, axis=1)[:, :kept]
        best[part] = np.take_along_axis(both, near, axis=1)
        which[part] = np.take_along_axis(numbers, near, axis=1)

    for i, part in enumerate(parts):
        some = neighbours.centred(rows[part], centre)
        for others in parts[i:]:
            squared, error = neighbours.estimated_distances(
                some, neighbours.centred(rows[others], centre)
            )
            largest = max(largest, error)
            if part == others:
                np.fill_diagonal(squared, np.inf)
            else:
                keep(others, squared.T.copy(), part.start)
            keep(part, squared, others.start)
    best_order = np.argsort(best, axis=1)
    best = np.take_along_axis(best, best_order, axis=1)
    which = np.take_along_axis(which, best_order, axis=1)
    # The k-th is one of those that are no surer than it.
    kth = best[:, k - 1 : k]
    doubtful = np.abs(best - kth) <= 2 * largest
    exact = np.where(best < kth, -np.inf, np.inf)
    i, j = np.nonzero(doubtful)
    exact[i, j] = neighbours.distances_of_pairs(rows, rows, i, which[i, j])
    radii = np.sort(exact, axis=1)[:, k - 1]
    again = doubtful[:, -1]
    if kept < len(rows) - 1 and again.any():
        radii[again] = _exact_kth_distances(
            rows, np.flatnonzero(again), k, centre, block
        )
    return radii


def _exact_kth_distances(rows, numbers, k, centre, block):
    """The same of some rows, in float64 throughout."""
    radii = np.empty(len(numbers))
    for part in neighbours.blocks(len(numbers), block):
        own = numbers[part]
        some, best = rows[own], np.full((len(own), k), np.inf)
        for others in neighbours.blocks(len(rows), block):
            squared = neighbours.squared_distances(some, rows[others], centre)
            here = (own >= others.start) & (own < others.stop)
            squared[here, own[here] - others.start] = np.inf
            both = np.concatenate([best, squared], axis=1)
            best = np.partition(both, k - 1, axis=1)[:, :k]
        radii[part] = best.max(axis=1)
    return radii

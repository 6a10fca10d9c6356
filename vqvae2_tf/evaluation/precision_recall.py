"""Improved precision and recall, and realism (Kynkäänniemi et al. 2019)."""

from typing import NamedTuple

import numpy as np

from vqvae2_tf.evaluation import neighbours


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

    All pairs are compared, in float64, a block of each set at a time: 50,000
    images of 2,048 features need less than 1 GiB beside the features.

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
    realism = np.zeros(n)
    for rows in neighbours.blocks(n, block):
        some = samples[rows]
        for others in neighbours.blocks(m, block):
            squared = neighbours.squared_distances(
                some, originals[others], centre
            )
            inside[rows] |= (squared <= edges[others]).any(axis=1)
            edge = sample_edges[rows, None]
            covered[others] |= (squared <= edge).any(axis=0)
            # Nothing is at 0 / 0: an original of radius 0 has a copy.
            np.maximum(squared, np.finfo("float64").tiny, out=squared)
            np.divide(radii[others], squared, out=squared)
            realism[rows] = np.maximum(realism[rows], squared.max(axis=1))
    return PrecisionRecall(
        float(inside.mean()), float(covered.mean()), np.sqrt(realism)
    )


def _balls(rows, k, centre, block):
    """Squared distances `[n]` to the k-th neighbours, and to the balls' edges.

    An edge is a rounding error further out, so that equal distances are equal.
    """
    best = np.full((len(rows), k), np.inf)
    parts = list(neighbours.blocks(len(rows), block))

    def keep(part, found):
        both = np.concatenate([best[part], found], axis=1)
        best[part] = np.partition(both, k - 1, axis=1)[:, :k]

    for i, part in enumerate(parts):
        some = rows[part]
        for others in parts[i:]:
            squared = neighbours.squared_distances(some, rows[others], centre)
            if part == others:
                np.fill_diagonal(squared, np.inf)
            else:
                keep(others, squared.T)
            keep(part, squared)
    radii = best.max(axis=1)
    norms = [
        neighbours.squared_distances(rows[part], centre[None], centre)[:, 0]
        for part in parts
    ]
    slack = neighbours.ROUNDING * 4 * (np.concatenate(norms) + radii)
    return radii, radii + slack

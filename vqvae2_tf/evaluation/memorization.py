"""Whether samples lie nearer to the training set than held-out images do."""

from typing import NamedTuple

import numpy as np

from vqvae2_tf.evaluation import neighbours

PERCENTILES = (1, 5, 25, 50, 75)


class Memorization(NamedTuple):
    """Distances to the nearest training image, of samples and held-out images.

    Attributes:
        nearer: Probability that a sample is nearer than a held-out image, ties
            counted half: 0.5 if nothing is memorized, 1 if all is.
        z: `nearer` in standard deviations from 0.5, of the Mann-Whitney test,
            the C_T of Meehan et al. 2020 with its sign turned: above 3 hardly
            happens by chance.
        below_median: Share of the samples nearer than the held-out median.
        percentiles: Of the samples' distances, by `PERCENTILES`.
        held_out_percentiles: Of the held-out images' distances, likewise.
        distances: `[n]`, of each sample.
        numbers: `[n]`, each sample's nearest training image.
    """

    nearer: float
    z: float
    below_median: float
    percentiles: list[float]
    held_out_percentiles: list[float]
    distances: np.ndarray
    numbers: np.ndarray


def memorization(
    samples: np.ndarray, train: np.ndarray, held_out: np.ndarray
) -> Memorization:
    """Compares samples and held-out images by their distance to training.

    Held-out images are as far from the training set as unseen images of its
    distribution are; samples that are nearer copy it. One training set stands
    in both distances, so that its size plays no part.

    Args:
        samples: `[n, ...]` features or pixels, indexed by slices.
        train: `[t, ...]`, likewise: the images that were trained on.
        held_out: `[m, ...]`, likewise: other images of the data set.

    Raises:
        ValueError: If a set is empty or the shapes do not fit.
    """
    if not min(len(samples), len(held_out)):
        raise ValueError(
            "Expected a sample and a held-out image at least. Received: "
            f"{samples.shape} and {held_out.shape}"
        )
    numbers, near = neighbours.nearest(samples, train, 1)
    _, far = neighbours.nearest(held_out, train, 1)
    near, far = near[:, 0], far[:, 0]
    nearer, z = _mann_whitney(near, far)
    return Memorization(
        nearer,
        z,
        float(np.mean(near < np.median(far))),
        np.percentile(near, PERCENTILES).tolist(),
        np.percentile(far, PERCENTILES).tolist(),
        near,
        numbers[:, 0],
    )


def _mann_whitney(near, far):
    """P(near < far), ties half, and how many deviations it is off 0.5."""
    n, m = len(near), len(far)
    order = np.sort(far)
    above = m - np.searchsorted(order, near, side="right")
    equal = m - np.searchsorted(order, near, side="left") - above
    share = float(np.mean(above + 0.5 * equal) / m)
    total = n + m
    ties = np.unique(np.concatenate([near, far]), return_counts=True)[1]
    spread = total + 1 - np.sum(ties**3.0 - ties) / (total * (total - 1))
    if spread <= 0:  # All distances are equal.
        return share, 0.0
    return share, float((share - 0.5) / np.sqrt(spread / (12 * n * m)))

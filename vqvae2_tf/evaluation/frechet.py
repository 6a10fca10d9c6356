"""Fréchet distance of two sets of features, from their sums."""

from collections.abc import Iterable

import numpy as np


class Gaussian:
    """Mean and covariance of features, in float64, a block at a time.

    Sums are kept about the mean so far (Chan et al. 1983), so that nothing is
    lost where the mean is large beside the deviation.

    Attributes:
        count: Number of rows.
        mean: `[D]`.
        scatter: `[D, D]`: the sum of the products of what rows are off the
            mean.
    """

    def __init__(self, blocks: Iterable[np.ndarray] = ()):
        self.count = 0
        for block in blocks:
            self.update(block)

    def update(self, features: np.ndarray) -> None:
        """Adds rows `[n, D]`.

        Raises:
            ValueError: If a feature is not finite.
        """
        features = np.asarray(features, "float64")
        if not np.isfinite(features).all():
            raise ValueError("Expected finite features. Received: NaN or inf")
        if not len(features):
            return
        other = Gaussian()
        other.count = len(features)
        other.mean = features.mean(axis=0)
        features = features - other.mean
        other.scatter = features.T @ features
        self.merge(other)

    def merge(self, other: "Gaussian") -> None:
        """Adds the rows of another one."""
        if not self.count:
            self.__dict__.update(other.__dict__)
        elif other.count:
            total = self.count + other.count
            off = other.mean - self.mean
            shared = self.count * other.count / total
            self.scatter = (
                self.scatter + other.scatter + shared * np.outer(off, off)
            )
            self.mean = self.mean + off * (other.count / total)
            self.count = total

    @property
    def covariance(self) -> np.ndarray:
        """`[D, D]`, over n - 1.

        Raises:
            ValueError: If there are fewer than two rows.
        """
        if self.count < 2:
            raise ValueError(
                f"Expected at least 2 rows of features. Received: {self.count}"
            )
        return self.scatter / (self.count - 1)

    def distance_to(self, other: "Gaussian") -> float:
        """Their `frechet_distance`."""
        return frechet_distance(
            self.mean, self.covariance, other.mean, other.covariance
        )


def frechet_distance(
    mean: np.ndarray,
    covariance: np.ndarray,
    other_mean: np.ndarray,
    other_covariance: np.ndarray,
) -> float:
    """Squared Fréchet distance of two normal distributions, the FID's.

    |m - n|² + tr(C + E - 2 (C E)^½) of Heusel et al. 2017. The trace of the
    root is the sum of the roots of the eigenvalues of R'ER, with C = RR', which
    is symmetric. Eigenvalues that are rounding errors are left out, so that the
    distance is exact for covariances of low rank, those of fewer rows than
    dimensions, too: a root turns an error of 1e-16 into one of 1e-8.

    The distance falls with the number of rows: compare at equal numbers, 50,000
    in the papers.

    Args:
        mean: `[D]`.
        covariance: `[D, D]`.
        other_mean: `[D]`.
        other_covariance: `[D, D]`.

    Raises:
        ValueError: If the shapes do not fit.
    """
    arrays = mean, covariance, other_mean, other_covariance
    m, c, n, e = (np.asarray(array, "float64") for array in arrays)
    size = m.size
    if [a.shape for a in (m, c, n, e)] != [(size,), (size, size)] * 2:
        raise ValueError(
            "Expected means [D] and covariances [D, D]. Received: "
            f"{m.shape}, {c.shape}, {n.shape} and {e.shape}"
        )
    values, vectors = np.linalg.eigh(c)
    kept = values > _noise(values)
    root = vectors[:, kept] * np.sqrt(values[kept])
    values = np.linalg.eigvalsh(root.T @ e @ root)
    roots = np.sqrt(values[values > _noise(values)])
    off = m - n
    return float(off @ off + np.trace(c) + np.trace(e) - 2 * roots.sum())


def _noise(values):
    """Below this, an eigenvalue is a rounding error."""
    largest = np.abs(values).max(initial=0.0)
    return len(values) * np.finfo("float64").eps * largest

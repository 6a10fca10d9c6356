"""Nearest neighbours by Euclidean distance, a block of rows at a time."""

from collections.abc import Iterator

import numpy as np

# Rows of a block: 2,048 of 2,048 dimensions are 32 MiB in float64.
BLOCK = 2048
# Of squared distances, in shares of the squared norms.
ROUNDING = 1e-13


def squared_distances(
    x: np.ndarray, y: np.ndarray, centre: np.ndarray
) -> np.ndarray:
    """Squared Euclidean distances `[n, m]` float64 of rows `[n, D]`, `[m, D]`.

    Distances of less than a rounding error, as equal rows have, are 0.

    Args:
        x: Rows.
        y: Rows.
        centre: `[D]`: a point near to all of them, taken as the origin, as
            rounding errors grow with the distance from it.
    """
    x = np.asarray(x, "float64").reshape(len(x), -1) - centre
    y = np.asarray(y, "float64").reshape(len(y), -1) - centre
    norms = np.sum(x * x, axis=1)[:, None] + np.sum(y * y, axis=1)
    distances = x @ y.T
    distances *= -2.0
    distances += norms
    norms *= ROUNDING
    distances[distances < norms] = 0.0
    return distances


def centred(
    rows: np.ndarray, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows `[n, D]` float32 about a centre, and their squared norms `[n]`."""
    rows = rows - centre.astype(rows.dtype)
    rows = rows.astype("float32", copy=False)
    return rows, np.einsum("ij,ij->i", rows, rows)


def estimated_distances(
    x: tuple[np.ndarray, np.ndarray], y: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, float]:
    """As `squared_distances`, in float32, and the largest error that it has.

    Args:
        x: Rows as `centred` gives them.
        y: Rows about the same centre.

    Returns:
        Tuple of the distances `[n, m]` float32, which may be below zero, and a
        bound of how far one is from the squared distance.
    """
    (x, x_norms), (y, y_norms) = x, y
    distances = x @ y.T
    distances *= -2.0
    distances += x_norms[:, None]
    distances += y_norms
    # Of a sum of D products, D roundings of each at most (Higham 2002, 3.1).
    error = (x.shape[1] + 16) * 2.0**-24
    return distances, error * float(x_norms.max() + y_norms.max())


def distances_of_pairs(
    x: np.ndarray, y: np.ndarray, i: np.ndarray, j: np.ndarray
) -> np.ndarray:
    """Squared distances `[p]` float64 of the rows i of x and j of y."""
    found = np.empty(len(i))
    for part in blocks(len(i), 1024):
        off = np.asarray(x[i[part]], "float64") - y[j[part]]
        found[part] = np.einsum("ij,ij->i", off, off)
    return found


def centre_of(rows: np.ndarray, count: int) -> np.ndarray:
    """Mean `[D]` of the first `count` rows: float64, of float32 values."""
    rows = np.asarray(rows[:count], "float64")
    mean = rows.reshape(len(rows), -1).mean(axis=0)
    return mean.astype("float32").astype("float64")


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    """Yields slices of at most `size` of `count` rows."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def nearest(
    queries: np.ndarray, rows: np.ndarray, k: int, block: int = BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows nearest to each query, as the VQ-VAE-2 paper's supplement C.

    Args:
        queries: `[n, ...]` features or pixels, indexed by slices.
        rows: `[m, ...]`, likewise.
        k: Neighbours of a query.
        block: Queries, and rows, at once.

    Returns:
        Tuple of the neighbours' numbers `[n, k]`, nearest first, and their
        distances `[n, k]` float64.

    Raises:
        ValueError: If there are fewer than k rows, or the shapes do not fit.
    """
    if len(rows) < k or queries.shape[1:] != rows.shape[1:]:
        raise ValueError(
            f"Expected at least {k} rows, of the queries' dimensions. "
            f"Received: {rows.shape} for queries {queries.shape}"
        )
    centre = centre_of(rows, block)
    numbers = np.empty((len(queries), k), "int64")
    distances = np.empty((len(queries), k))
    for part in blocks(len(queries), block):
        some = queries[part]
        best = np.full((len(some), k), np.inf)
        which = np.zeros((len(some), k), "int64")
        for others in blocks(len(rows), block):
            found = squared_distances(some, rows[others], centre)
            both = np.concatenate([best, found], axis=1)
            numbered = np.broadcast_to(
                np.arange(others.start, others.stop), found.shape
            )
            numbered = np.concatenate([which, numbered], axis=1)
            places = np.argpartition(both, k - 1, axis=1)[:, :k]
            best = np.take_along_axis(both, places, axis=1)
            which = np.take_along_axis(numbered, places, axis=1)
        order = np.lexsort((which, best))
        numbers[part] = np.take_along_axis(which, order, axis=1)
        distances[part] = np.sqrt(np.take_along_axis(best, order, axis=1))
    return numbers, distances

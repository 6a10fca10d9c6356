"""Pairs of images of two sets that are nearly the same."""

import numpy as np

from vqvae2_tf.evaluation import neighbours


def near_duplicates(
    first: np.ndarray,
    second: np.ndarray,
    threshold: float,
    block: int = neighbours.BLOCK,
    most: int = 2**20,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs whose Euclidean distance is at most a threshold.

    For images of the held-out part that are in the training part too, which
    make held-out figures too good.

    Args:
        first: `[n, ...]` features or pixels, indexed by slices.
        second: `[m, ...]`, likewise.
        threshold: Largest distance of a pair.
        block: Rows of each set at once.
        most: Largest number of pairs.

    Returns:
        Tuple of the pairs, `[p, 2]` numbers in the two sets in order, and their
        distances `[p]`.

    Raises:
        ValueError: If the shapes do not fit, or there are more pairs.
    """
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(
            "Expected two sets of equal dimensions. Received: "
            f"{first.shape} and {second.shape}"
        )
    centre = neighbours.centre_of(second, block)
    count, pairs, distances = 0, [np.empty((0, 2), "int64")], [np.empty(0)]
    for rows in neighbours.blocks(len(first), block):
        for others in neighbours.blocks(len(second), block):
            found = np.sqrt(
                neighbours.squared_distances(
                    first[rows], second[others], centre
                )
            )
            places = np.argwhere(found <= threshold)
            count += len(places)
            if count > most:
                raise ValueError(
                    f"Expected at most {most:,} pairs of distances up to "
                    f"{threshold:g}."
                )
            pairs.append(places + [rows.start, others.start])
            distances.append(found[tuple(places.T)])
    pairs, distances = np.concatenate(pairs), np.concatenate(distances)
    order = np.lexsort(pairs.T[::-1])
    return pairs[order], distances[order]

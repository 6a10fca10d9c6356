"""Classifier-based rejection sampling (section 3.3 of the VQ-VAE-2 paper)."""

import numpy as np

from vqvae2_tf.evaluation.inception_score import log_softmax

# What is kept in the paper's figures, in parts of 1.
SHARES = (1.0, 0.75, 0.5, 0.3, 0.1, 0.01)
SAME_NETWORK = (
    "Warning: the critic is the network that judges, so that what it keeps "
    "looks better than it is."
)


def own_class_probabilities(
    logits: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """The probability `[n]` float64 of each image's own class.

    Args:
        logits: `[n, C]`.
        labels: `[n]` int in [0, C).

    Raises:
        ValueError: If a label is none of the logits' classes.
    """
    labels = np.asarray(labels)
    classes = logits.shape[1]
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"Expected labels from 0 to {classes - 1}, the classes of the "
            f"logits. Received: {labels.min()} to {labels.max()}"
        )
    chosen = np.take_along_axis(log_softmax(logits), labels[:, None], axis=1)
    return np.exp(chosen[:, 0])


def order_within_classes(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each sample's rank `[n]` in its class, from 0, the best, on.

    Of equal scores the first sample is the better one.

    Args:
        scores: `[n]`: higher is better.
        labels: `[n]` int: the class of each.

    Raises:
        ValueError: If a score is not finite.
    """
    scores, labels = np.asarray(scores, "float64"), np.asarray(labels)
    if not np.isfinite(scores).all():
        raise ValueError("Expected finite scores. Received: NaN or inf")
    order = np.lexsort((-scores, labels))
    first = np.searchsorted(labels[order], labels[order])
    ranks = np.empty(len(order), "int64")
    ranks[order] = np.arange(len(order)) - first
    return ranks


def best_of_each_class(
    scores: np.ndarray, labels: np.ndarray, share: float
) -> np.ndarray:
    """Numbers of the samples that are kept, sorted.

    Of each class the best, `ceil(share * n)` of its n samples: classes keep
    their shares.

    Args:
        scores: `[n]`: higher is better.
        labels: `[n]` int: the class of each.
        share: In (0, 1].

    Raises:
        ValueError: If the share is out of range or a score not finite.
    """
    if not 0 < share <= 1:
        raise ValueError(
            f"Expected a share above 0, at most 1. Received: {share}"
        )
    ranks = order_within_classes(scores, labels)
    _, classes, sizes = np.unique(
        labels, return_inverse=True, return_counts=True
    )
    # Rounded first: 0.3 * 10 is a little more than 3.
    limits = np.ceil(np.round(share * sizes, 6))
    return np.flatnonzero(ranks < limits[classes])

"""Inception Score of a classifier's logits."""

from typing import NamedTuple

import numpy as np


class InceptionScore(NamedTuple):
    """Mean and standard deviation over the splits."""

    value: float
    deviation: float


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log probabilities `[n, C]` float64 of logits."""
    logits = np.asarray(logits, "float64")
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def inception_score(
    logits: np.ndarray, splits: int = 10, seed: int = 2020
) -> InceptionScore:
    """exp of the mean divergence of each image's classes from those of all.

    Salimans et al. 2016: of 10 splits, after a shuffle, as the order of images
    is often that of their classes; the papers take 50,000 images. It has the
    name only with the Inception network of 2015.

    Args:
        logits: `[n, C]`, rows of an array; the logs of probabilities are such.
        splits: Parts that are scored by themselves.
        seed: Of the shuffle, which is torch-fidelity's.

    Raises:
        ValueError: If there are fewer images than splits.
    """
    count = len(logits)
    if count < splits:
        raise ValueError(
            f"Expected logits of at least {splits} images, one a split. "
            f"Received: {count}"
        )
    log_p = log_softmax(logits[np.random.RandomState(seed).permutation(count)])
    scores = []
    for i in range(splits):
        part = log_p[i * count // splits : (i + 1) * count // splits]
        p = np.exp(part)
        mean = p.mean(axis=0)
        # A class of probability 0 adds nothing: 0 · log 0 is 0.
        entropy = np.sum(p * np.where(p > 0, part, 0.0), axis=1).mean()
        cross = np.sum(mean * np.log(np.where(mean > 0, mean, 1.0)))
        scores.append(np.exp(entropy - cross))
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))

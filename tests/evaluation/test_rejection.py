"""Tests of classifier-based rejection sampling."""

import math

import numpy as np
import pytest

from vqvae2_tf.evaluation.rejection import SHARES
from vqvae2_tf.evaluation.rejection import best_of_each_class
from vqvae2_tf.evaluation.rejection import own_class_probabilities

pytestmark = pytest.mark.any_backend

RNG = np.random.default_rng(0)
LABELS = np.array([7] * 10 + [2] * 25 + [0])[RNG.permutation(36)]
SCORES = RNG.uniform(size=36).round(1)


@pytest.mark.parametrize("share", SHARES)
def test_the_best_of_each_class_are_kept(share):
    expected = []
    for label in (0, 2, 7):
        own = [i for i in range(36) if LABELS[i] == label]
        own.sort(key=lambda i: (-SCORES[i], i))
        kept = {1.0: len(own)}.get(share, math.ceil(len(own) * share - 1e-9))
        expected += own[:kept]
    found = best_of_each_class(SCORES, LABELS, share)
    assert found.tolist() == sorted(expected)


def test_all_is_kept_in_order():
    assert best_of_each_class(SCORES, LABELS, 1).tolist() == list(range(36))
    assert best_of_each_class([], [], 0.5).size == 0


def test_the_score_is_the_probability_of_the_own_class():
    logits = RNG.normal(size=(36, 8))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        own_class_probabilities(logits, LABELS), p[np.arange(36), LABELS]
    )


def test_mistakes_are_reported():
    for share in (0, 1.5):
        with pytest.raises(ValueError, match="Expected a share above 0"):
            best_of_each_class(SCORES, LABELS, share)
    with pytest.raises(ValueError, match="Expected finite scores"):
        best_of_each_class(np.full(36, np.nan), LABELS, 0.5)
    with pytest.raises(ValueError, match="labels from 0 to 6.*0 to 7"):
        own_class_probabilities(np.ones((36, 7)), LABELS)

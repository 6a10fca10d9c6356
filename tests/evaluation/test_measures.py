"""Tests of the metrics out of sums."""

import math

import numpy as np
import pytest

from vqvae2_tf.evaluation import measures

pytestmark = pytest.mark.any_backend


@pytest.mark.parametrize(
    ("mse", "decibels"), [(1.0, 0.0), (0.01, 20.0), (0.005, 23.0103)]
)
def test_psnr(mse, decibels):
    assert measures.psnr(mse) == pytest.approx(decibels, abs=1e-4)


def test_usage_is_the_share_of_codes_seen():
    assert measures.codebook_usage([0, 3, 0.5, 0]) == 0.5
    assert measures.codebook_usage(np.ones(8)) == 1.0


@pytest.mark.parametrize(
    ("counts", "perplexity"),
    [
        ([5, 5, 5, 5], 4.0),
        ([7, 0, 0], 1.0),
        ([1, 1, 0, 0], 2.0),
        ([1, 3], math.exp(0.25 * math.log(4) + 0.75 * math.log(4 / 3))),
    ],
)
def test_perplexity_is_exp_of_the_entropy(counts, perplexity):
    assert measures.codebook_perplexity(counts) == pytest.approx(perplexity)


def test_perplexity_of_float32_counts_beyond_2_to_the_24():
    counts = np.full(4, 1e9, "float32")
    assert measures.codebook_perplexity(counts) == pytest.approx(4.0)


def test_psnr_is_finite_without_an_error():
    assert measures.psnr(0.0) == 120

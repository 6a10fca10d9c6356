"""Tests of the Fréchet distance."""

import numpy as np
import pytest

from tests.evaluation.fidelity import ORIGINALS
from tests.evaluation.fidelity import SAMPLES
from vqvae2_tf.evaluation.frechet import Gaussian
from vqvae2_tf.evaluation.frechet import frechet_distance

pytestmark = pytest.mark.any_backend


def distance(features, others):
    one, other = Gaussian([features]), Gaussian([others])
    return frechet_distance(
        one.mean, one.covariance, other.mean, other.covariance
    )


def blocks(features, size):
    return (features[i : i + size] for i in range(0, len(features), size))


def test_distance_is_torch_fidelitys():
    assert distance(SAMPLES, ORIGINALS) == pytest.approx(
        0.7249142541284783, rel=1e-9
    )


def test_distance_of_normal_distributions_with_one_basis():
    # Commuting covariances: the trace is sum((a^½ - b^½)²).
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    a, b = rng.uniform(size=(2, 6))
    means = rng.normal(size=(2, 6))
    expected = np.sum((means[0] - means[1]) ** 2)
    expected += np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
    found = frechet_distance(
        means[0], basis * a @ basis.T, means[1], basis * b @ basis.T
    )
    assert found == pytest.approx(expected, rel=1e-12)


def test_distance_has_the_square_root_of_the_product():
    linalg = pytest.importorskip("scipy.linalg")
    one, other = Gaussian([SAMPLES]), Gaussian([ORIGINALS])
    root = linalg.sqrtm(one.covariance @ other.covariance).real
    expected = np.sum((one.mean - other.mean) ** 2) + np.trace(
        one.covariance + other.covariance - 2 * root
    )
    assert distance(SAMPLES, ORIGINALS) == pytest.approx(expected, rel=1e-9)


def test_distance_of_fewer_rows_than_dimensions_is_exact():
    # tr (C E)^½ is the sum of the singular values of the centred rows' product.
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 300)), rng.normal(size=(30, 300)) * 2
    a = (x - x.mean(axis=0)) / np.sqrt(19)
    b = (y - y.mean(axis=0)) / np.sqrt(29)
    expected = np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2)
    expected += np.sum(a**2) + np.sum(b**2)
    expected -= 2 * np.linalg.svd(a @ b.T, compute_uv=False).sum()
    assert distance(x, y) == pytest.approx(expected, rel=1e-12)


def test_distance_of_a_set_to_itself_is_zero():
    assert distance(SAMPLES, SAMPLES) == pytest.approx(0.0, abs=1e-9)
    constant = np.ones((5, 3))
    assert distance(constant, constant) == 0.0
    assert distance(constant, constant + 2) == pytest.approx(12.0)


@pytest.mark.parametrize("size", [1, 7, 1300])
def test_sums_of_blocks_are_those_of_the_whole(size):
    # A mean that is large beside the deviation costs no digits.
    features = ORIGINALS + 1e4
    found = Gaussian(blocks(features, size))
    assert found.count == 1300
    np.testing.assert_allclose(found.mean, features.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(
        found.covariance, np.cov(features, rowvar=False), atol=1e-9
    )


def test_parts_are_merged():
    part = Gaussian(blocks(ORIGINALS[:400], 100))
    part.merge(Gaussian())
    part.merge(Gaussian(blocks(ORIGINALS[400:], 100)))
    whole = Gaussian()
    whole.merge(part)
    np.testing.assert_allclose(
        whole.covariance, np.cov(ORIGINALS, rowvar=False), rtol=1e-10
    )


def test_mistakes_are_reported():
    with pytest.raises(ValueError, match="at least 2 rows.*Received: 1"):
        _ = Gaussian([np.ones((1, 3))]).covariance
    with pytest.raises(ValueError, match="Expected finite features"):
        Gaussian([np.full((2, 2), np.nan)])
    with pytest.raises(ValueError, match=r"Received: \(2,\), \(2, 2\), \(3,\)"):
        frechet_distance(np.ones(2), np.eye(2), np.ones(3), np.eye(3))

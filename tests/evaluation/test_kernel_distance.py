"""Tests of the kernel distance."""

import numpy as np
import pytest

from tests.evaluation.fidelity import ORIGINALS
from tests.evaluation.fidelity import SAMPLES
from vqvae2_tf.evaluation.kernel_distance import kernel_distance

pytestmark = pytest.mark.any_backend


@pytest.mark.parametrize(
    ("subsets", "size", "mean", "deviation"),
    [
        # From the kernel of all rows, and from each subset's.
        (100, 1000, 0.1752082117350014, 0.010639177020620625),
        (3, 500, 0.19145999690468862, 0.02408718916015185),
    ],
)
def test_distance_is_torch_fidelitys(subsets, size, mean, deviation):
    found = kernel_distance(SAMPLES, ORIGINALS, subsets, size)
    assert found.value == pytest.approx(mean, rel=1e-9)
    assert found.deviation == pytest.approx(deviation, rel=1e-7)
    error = deviation / np.sqrt(subsets)
    assert found.standard_error == pytest.approx(error, rel=1e-7)


@pytest.mark.parametrize("subsets", [1, 20])
def test_small_sets_are_taken_whole(subsets):
    x, y = SAMPLES[:7], ORIGINALS[:7]

    def mean(one, other, own):
        return np.mean(
            [
                (np.dot(a, b) / 24 + 1) ** 3
                for i, a in enumerate(one)
                for j, b in enumerate(other)
                if not own or i != j
            ]
        )

    expected = mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)
    found = kernel_distance(x, y, subsets)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.deviation == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(found.standard_error)


def test_distance_is_unbiased():
    rng = np.random.default_rng(0)
    values = [
        kernel_distance(*rng.normal(size=(2, 20, 4)), subsets=1).value
        for _ in range(400)
    ]
    error = np.std(values) / 20
    assert abs(np.mean(values)) < 3 * error
    assert min(values) < 0


def test_a_set_of_one_row_is_refused():
    with pytest.raises(ValueError, match="at least 2 rows"):
        kernel_distance(SAMPLES[:1], ORIGINALS)
    with pytest.raises(ValueError, match="equal dimensions"):
        kernel_distance(SAMPLES[:, :3], ORIGINALS)

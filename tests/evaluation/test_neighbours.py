"""Tests of nearest neighbours, memorization and near duplicates."""

import numpy as np
import pytest

from vqvae2_tf.evaluation.memorization import memorization
from vqvae2_tf.evaluation.near_duplicates import near_duplicates
from vqvae2_tf.evaluation.neighbours import nearest

pytestmark = pytest.mark.any_backend

RNG = np.random.default_rng(0)
QUERIES = RNG.normal(size=(11, 2, 3))
ROWS = RNG.normal(size=(23, 2, 3))
DISTANCES = np.sqrt(
    ((QUERIES[:, None] - ROWS[None]) ** 2).reshape(11, 23, -1).sum(axis=-1)
)


@pytest.mark.parametrize("k", [1, 4, 23])
@pytest.mark.parametrize("block", [5, 100])
def test_neighbours_are_the_first_of_all_in_order(k, block):
    numbers, distances = nearest(QUERIES, ROWS, k, block)
    order = np.argsort(DISTANCES, axis=1)[:, :k]
    np.testing.assert_array_equal(numbers, order)
    np.testing.assert_allclose(
        distances, np.take_along_axis(DISTANCES, order, axis=1), rtol=1e-9
    )


def test_a_copy_is_at_distance_zero():
    numbers, distances = nearest(ROWS[5:7] + 0.0, ROWS, 1)
    assert numbers[:, 0].tolist() == [5, 6]
    assert distances.tolist() == [[0.0], [0.0]]


def test_fewer_rows_than_neighbours_are_refused():
    with pytest.raises(ValueError, match="at least 24 rows"):
        nearest(QUERIES, ROWS, 24)
    with pytest.raises(ValueError, match="queries' dimensions"):
        nearest(QUERIES[:, :1], ROWS, 2)


def test_near_duplicates_are_found_across_two_sets():
    second = ROWS.copy()
    second[4] = QUERIES[9] + 1e-4
    second[20] = QUERIES[2]
    for block in (5, 100):
        pairs, distances = near_duplicates(QUERIES, second, 0.01, block)
        assert pairs.tolist() == [[2, 20], [9, 4]]
        np.testing.assert_allclose(distances, [0, 1e-4 * 6**0.5], rtol=1e-6)
    pairs, _ = near_duplicates(QUERIES, ROWS, 1.5)
    assert pairs.tolist() == np.argwhere(DISTANCES <= 1.5).tolist()
    assert near_duplicates(QUERIES, ROWS, 0.0)[0].shape == (0, 2)
    with pytest.raises(ValueError, match="at most 3 pairs"):
        near_duplicates(QUERIES, ROWS, 100.0, most=3)
    with pytest.raises(ValueError, match="equal dimensions"):
        near_duplicates(QUERIES, ROWS[:, :1], 1)


def test_copies_are_memorized_and_new_samples_are_not():
    rng = np.random.default_rng(0)
    train, held_out, new = rng.normal(size=(3, 200, 5))
    found = memorization(new, train, held_out)
    assert abs(found.z) < 3
    assert found.below_median == pytest.approx(0.5, abs=0.15)
    copies = train[::2] + 0.01 * rng.normal(size=(100, 5))
    found = memorization(copies, train, held_out)
    assert (found.nearer, found.below_median) == (1.0, 1.0)
    assert found.z > 10
    assert found.percentiles[-1] < found.held_out_percentiles[0]
    assert found.numbers.tolist() == list(range(0, 200, 2))


@pytest.mark.large
def test_the_rank_test_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    # On a line of whole numbers, with ties.
    rng = np.random.default_rng(0)
    samples = rng.integers(6, size=(30, 1)).astype("float64")
    held_out = rng.integers(9, size=(40, 1)).astype("float64")
    found = memorization(samples, np.zeros((1, 1)), held_out)
    near, far = samples[:, 0], held_out[:, 0]
    result = stats.mannwhitneyu(far, near, use_continuity=False)
    assert found.nearer == pytest.approx(result.statistic / 1200)
    p = 2 * stats.norm.sf(abs(found.z))
    assert p == pytest.approx(result.pvalue, rel=1e-9)
    np.testing.assert_allclose(
        found.percentiles, np.percentile(near, [1, 5, 25, 50, 75])
    )


def test_equal_distances_say_nothing():
    found = memorization(np.ones((3, 2)), np.zeros((1, 2)), np.ones((4, 2)))
    assert (found.nearer, found.z, found.below_median) == (0.5, 0.0, 0.0)
    with pytest.raises(ValueError, match="a sample and a held-out image"):
        memorization(np.ones((0, 2)), np.zeros((1, 2)), np.ones((4, 2)))

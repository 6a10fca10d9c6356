"""Tests of improved precision and recall."""

import numpy as np
import pytest

from tests.evaluation.fidelity import ORIGINALS
from tests.evaluation.fidelity import SAMPLES
from vqvae2_tf.evaluation.precision_recall import precision_recall

pytestmark = pytest.mark.any_backend


@pytest.mark.parametrize(
    ("k", "precision", "recall"),
    [(3, 731 / 1100, 1079 / 1300), (5, 850 / 1100, 1179 / 1300)],
)
@pytest.mark.parametrize("block", [100, 2048])
def test_shares_are_torch_fidelitys(k, precision, recall, block):
    found = precision_recall(SAMPLES, ORIGINALS, k, block)
    assert found[:2] == (precision, recall)


def brute_force(samples, originals, k):
    def distances(x, y):
        return np.sqrt(((x[:, None] - y[None]) ** 2).sum(axis=-1))

    def radii(x):
        own = distances(x, x)
        np.fill_diagonal(own, np.inf)
        return np.sort(own, axis=1)[:, k - 1]

    across = distances(samples, originals)
    r, s = radii(originals), radii(samples)
    precision = (across <= r).any(axis=1).mean()
    recall = (across <= s[:, None]).any(axis=0).mean()
    kept = r <= np.median(r)
    realism = (r[kept] / across[:, kept]).max(axis=1)
    return precision, recall, realism


@pytest.mark.parametrize("block", [1, 7, 64])
@pytest.mark.parametrize("offset", [0, 1000])
def test_blocks_give_what_all_pairs_give(block, offset):
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(40, 4)) * 1.3 + offset
    originals = rng.normal(size=(33, 4)) + offset
    found = precision_recall(samples, originals, 3, block)
    precision, recall, realism = brute_force(samples, originals, 3)
    assert 0 < precision < 1
    assert found[:2] == (precision, recall)
    np.testing.assert_allclose(found.realism, realism, rtol=1e-9)


@pytest.mark.parametrize("block", [3, 64])
def test_equal_distances_are_inside(block):
    # Whole numbers, whose distances are often the same.
    samples, originals = np.random.default_rng(0).integers(4, size=(2, 30, 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall, _ = brute_force(samples, originals, 3)
    found = precision_recall(samples / 3, originals / 3, 3, block)
    assert found[:2] == (precision, recall)


@pytest.mark.parametrize("block", [16, 64])
def test_what_float32_cannot_tell_is_compared_in_float64(block):
    # Far groups: the error of a distance in float32 is larger than those in
    # a group.
    rng = np.random.default_rng(0)
    samples, originals = 0.1 * rng.normal(size=(2, 60, 3))
    for features in (samples, originals):
        features[::3] += 1000
        features[1::3] -= 1000
    found = precision_recall(samples, originals, 3, block)
    precision, recall, _ = brute_force(samples, originals, 3)
    assert 0 < precision < 1
    assert found[:2] == (precision, recall)


def test_mode_collapse_is_precise_and_recalls_little():
    rng = np.random.default_rng(0)
    originals = np.concatenate(
        [rng.normal(size=(50, 5)) + 20 * i for i in range(4)]
    )
    collapsed = originals[:1] + 0.01 * rng.normal(size=(200, 5))
    found = precision_recall(collapsed, originals)
    assert found.precision == 1.0
    assert found.recall < 0.05
    found = precision_recall(np.repeat(originals[:1], 200, axis=0), originals)
    assert found[:2] == (1.0, 1 / 200)


def test_realism_is_lower_far_from_the_originals():
    found = precision_recall(
        np.concatenate([ORIGINALS[:10] + 1e-3, SAMPLES[:10] + 3.0]), ORIGINALS
    )
    assert found.realism[:10].min() > found.realism[10:].max()
    assert found.realism[10:].max() < 1


def test_features_may_be_a_file(tmp_path):
    np.save(tmp_path / "a.npy", SAMPLES[:50].astype("float32"))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    found = precision_recall(mapped, ORIGINALS[:60], block=16)
    expected = precision_recall(np.array(mapped), ORIGINALS[:60])
    assert found[:2] == expected[:2]


def test_fewer_rows_than_neighbours_are_refused():
    with pytest.raises(ValueError, match="at least 4 rows"):
        precision_recall(SAMPLES[:3], ORIGINALS)
    with pytest.raises(ValueError, match="equal dimensions"):
        precision_recall(SAMPLES[:, :3], ORIGINALS)

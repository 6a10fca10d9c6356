"""Tests of the statistics of code maps."""

import collections

import numpy as np
import pytest

from vqvae2_tf.evaluation.code_statistics import CodeCounts
from vqvae2_tf.evaluation.code_statistics import code_divergences
from vqvae2_tf.evaluation.code_statistics import compare_maps

pytestmark = pytest.mark.any_backend

MAPS = np.random.default_rng(0).integers(5, size=(9, 3, 4))
OTHERS = np.random.default_rng(1).integers(2, 8, size=(6, 3, 4))


def counted(maps, down, right):
    """Frequencies of pairs of codes, one by one."""
    counts = collections.Counter()
    for image in maps:
        for i in range(image.shape[0] - down):
            for j in range(image.shape[1] - right):
                pair = image[i, j], image[i + down, j + right]
                counts[tuple(map(int, pair))] += 1
    total = sum(counts.values())
    return {pair: count / total for pair, count in counts.items()}


def divergence(p, q):
    keys = p.keys() | q.keys()
    middle = {key: (p.get(key, 0) + q.get(key, 0)) / 2 for key in keys}
    return sum(
        share * np.log2(share / middle[key]) / 2
        for shares in (p, q)
        for key, share in shares.items()
    )


@pytest.mark.parametrize("size", [2, 100])
def test_divergences_are_those_of_the_frequencies(size):
    starts = range(0, len(MAPS), size)
    blocks = CodeCounts(MAPS[i : i + size].astype("uint16") for i in starts)
    assert blocks.count == 9
    found = code_divergences(blocks, CodeCounts([OTHERS]))
    steps = {"codes": (0, 0), "right": (0, 1), "below": (1, 0)}
    assert found.keys() == steps.keys()
    for name, step in steps.items():
        expected = divergence(counted(MAPS, *step), counted(OTHERS, *step))
        assert found[name] == pytest.approx(expected, rel=1e-12)


def test_equal_maps_differ_by_nothing_and_disjoint_ones_by_a_bit():
    one = CodeCounts([MAPS])
    assert set(code_divergences(one, one).values()) == {0.0}
    other = CodeCounts([MAPS + 5])
    found = code_divergences(one, other)
    assert list(found.values()) == pytest.approx([1.0] * 3)


def test_an_order_is_seen_by_pairs_alone():
    ordered = np.tile([[0, 1, 0, 1]], (5, 2, 1))
    grouped = np.tile([[0, 0, 1, 1]], (5, 2, 1))
    found = code_divergences(CodeCounts([ordered]), CodeCounts([grouped]))
    assert found["codes"] == 0.0
    assert found["right"] > 0.3
    assert found["below"] == pytest.approx(0.0)


def test_maps_of_one_code_have_no_pairs():
    one = CodeCounts([np.zeros((3, 1, 1))])
    found = code_divergences(one, one)
    assert found["codes"] == 0.0
    assert np.isnan([found["right"], found["below"]]).all()


def test_divergences_are_means_of_choices_of_equally_many_maps():
    maps = np.random.default_rng(2).integers(3, size=(3, 3, 4))
    count, found = compare_maps(maps[:1], maps[1:].astype("uint16"), seed=0)
    assert count == 1
    sample, one, other = (CodeCounts([x[None]]) for x in maps)
    floors = code_divergences(one, other)
    ends = code_divergences(sample, one), code_divergences(sample, other)
    shares = set()
    for name, (value, deviation, floor) in found.items():
        assert floor == pytest.approx(floors[name])
        first, second = (end[name] for end in ends)
        share = (value - second) / (first - second)
        expected = abs(first - second) * np.sqrt(share * (1 - share))
        assert deviation == pytest.approx(expected)
        shares.add(round(share, 6))
    # Of ten choices, the same for all statistics, not all are one map.
    (share,) = shares
    assert share in np.arange(1, 10) / 10
    assert compare_maps(maps[:1], maps[1:], seed=0) == (count, found)
    count, found = compare_maps(MAPS, OTHERS, seed=1)
    assert count == 3
    assert compare_maps(np.zeros((3, 1, 1)), np.zeros((4, 1, 1)), 0)[1] == {
        "codes": (0.0, 0.0, 0.0)
    }

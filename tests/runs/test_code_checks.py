"""Divergences of sampled and held-out codes, counted one by one."""

import collections
import math

import numpy as np
import pytest

from vqvae2_tf.data.arrays import ArrayExamples
from vqvae2_tf.level import Level
from vqvae2_tf.runs.code_checks import compare_codes

pytestmark = pytest.mark.any_backend

LEVELS = [Level("top", 1, 3, 4), Level("bottom", 2, 3, 3)]
RNG = np.random.default_rng(0)


def random_maps(count):
    return [RNG.integers(x.num_codes, size=(count, *x.shape)) for x in LEVELS]


def divergence(one, other):
    """Jensen-Shannon, in bits, of two lists of things."""
    one, other = map(collections.Counter, (one, other))
    total = 0.0
    for counts in (one, other):
        for key, count in counts.items():
            share = count / counts.total()
            mean = sum(c[key] / c.total() for c in (one, other)) / 2
            total += share * math.log2(share / mean) / 2
    return total


def all_pairs(maps):
    """Pairs side by side, and pairs one above the other."""
    beside, below = [], []
    for codes in maps.tolist():
        for row in codes:
            beside += zip(row[:-1], row[1:], strict=True)
        for upper, lower in zip(codes[:-1], codes[1:], strict=True):
            below += zip(upper, lower, strict=True)
    return beside, below


def expected_of(name, sampled, one, other):
    """Rows of one level, from maps that are all of one number."""
    rows = {}
    for ending, maps in (("", sampled), ("_floor", other)):
        rows[f"{name}_code_divergence{ending}"] = divergence(
            maps.ravel().tolist(), one.ravel().tolist()
        )
        pairs = zip(all_pairs(maps), all_pairs(one), strict=True)
        found = [divergence(x, y) for x, y in pairs if x]
        rows[f"{name}_pair_divergence{ending}"] = sum(found) / len(found)
    return rows


def test_all_are_of_one_number_of_maps():
    held_out, drawn = random_maps(9), random_maps(10)
    examples = {"codes": tuple(held_out), "label": np.zeros(9, "int32")}
    names = [level.name for level in LEVELS]
    found = compare_codes(
        dict(zip(names, drawn, strict=True)), ArrayExamples(examples), LEVELS
    )
    expected = {"code_divergence_count": 4}
    for name, own, other in zip(names, held_out, drawn, strict=True):
        # Of ten evenly spaced ones; the ninth has no other to go with.
        sampled = other[[0, 2, 5, 7]]
        expected |= expected_of(name, sampled, own[0:8:2], own[1:8:2])
    assert found == pytest.approx(expected)


def test_held_out_maps_are_of_the_samples_classes():
    held_out, drawn = random_maps(600), random_maps(3)
    labels = np.arange(600, dtype="int32") % 50
    examples = {"codes": tuple(held_out), "label": labels}
    found = compare_codes(
        {"top": drawn[0], "bottom": drawn[1]},
        ArrayExamples(examples),
        LEVELS,
        [3, 49],
    )
    # Of the first six, in order.
    own = held_out[0][[3, 49, 53, 99, 103, 149]]
    expected = expected_of("top", drawn[0], own[0::2], own[1::2])
    assert found == pytest.approx({**found, **expected})
    assert found["code_divergence_count"] == 3


def test_a_single_held_out_map_has_no_other_half():
    held_out = {"codes": tuple(random_maps(1)), "label": np.zeros(1, "int32")}
    drawn = dict(zip(("top", "bottom"), random_maps(4), strict=True))
    assert compare_codes(drawn, ArrayExamples(held_out), LEVELS) == {}

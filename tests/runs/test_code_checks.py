"""Which maps of codes are compared, and what is shown of them."""

import numpy as np
import pytest

from vqvae2_tf.data.arrays import ArrayExamples
from vqvae2_tf.evaluation.code_statistics import compare_maps
from vqvae2_tf.level import Level
from vqvae2_tf.runs.code_checks import compare_codes

pytestmark = pytest.mark.any_backend

LEVELS = [Level("top", 1, 3, 4), Level("bottom", 2, 3, 3)]
RNG = np.random.default_rng(0)


def random_maps(count):
    return [RNG.integers(x.num_codes, size=(count, *x.shape)) for x in LEVELS]


def test_a_level_has_its_codes_and_the_mean_of_its_pairs():
    held_out, drawn = random_maps(9), random_maps(10)
    examples = {"codes": tuple(held_out), "label": np.zeros(9, "int32")}
    names = [level.name for level in LEVELS]
    found = compare_codes(
        dict(zip(names, drawn, strict=True)), ArrayExamples(examples), LEVELS
    )
    expected = {"code_divergence_count": 4}
    for name, own, other in zip(names, held_out, drawn, strict=True):
        _, of_level = compare_maps(other, own, 0)
        code, _, floor = of_level["codes"]
        expected[f"{name}_code_divergence"] = code
        expected[f"{name}_code_divergence_floor"] = floor
        # A map of one row has no pairs one above the other.
        pairs = [of_level[x] for x in ("right", "below") if x in of_level]
        assert len(pairs) == own.shape[1]
        expected[f"{name}_pair_divergence"] = sum(p[0] for p in pairs) / len(
            pairs
        )
        expected[f"{name}_pair_divergence_floor"] = sum(
            p[2] for p in pairs
        ) / len(pairs)
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
    _, expected = compare_maps(drawn[0], own, 0)
    assert found["top_code_divergence"] == pytest.approx(expected["codes"][0])
    assert found["code_divergence_count"] == 3


def test_a_single_held_out_map_has_no_other_half():
    held_out = {"codes": tuple(random_maps(1)), "label": np.zeros(1, "int32")}
    drawn = dict(zip(("top", "bottom"), random_maps(4), strict=True))
    assert compare_codes(drawn, ArrayExamples(held_out), LEVELS) == {}

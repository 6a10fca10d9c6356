"""Tests of code maps' levels."""

import json
import math

import numpy as np
import pytest

from vqvae2_tf.level import Level
from vqvae2_tf.level import hierarchical_levels

pytestmark = pytest.mark.any_backend

CODES = Level("top", 4, 6, 512)
VECTORS = Level("top", 4, 6, None, channels=8)


@pytest.mark.parametrize(
    ("strides", "names"),
    [
        ((2,), ["top"]),
        ((2, 2), ["top", "bottom"]),
        ((2, 2, 2), ["top", "middle", "bottom"]),
        ((2, 2, 2, 2), ["top", "middle_1", "middle_2", "bottom"]),
    ],
)
def test_names_run_from_coarse_to_fine(strides, names):
    levels = hierarchical_levels((16, 16), strides, 8)
    assert [level.name for level in levels] == names


@pytest.mark.parametrize(
    ("image_size", "strides", "sizes"),
    [
        ((256, 256), (4, 2), [(32, 32), (64, 64)]),
        ((1024, 1024), (8, 2, 2), [(32, 32), (64, 64), (128, 128)]),
        ((32, 48), (4, 2), [(4, 6), (8, 12)]),
        ((8, 4), (2,), [(4, 2)]),
    ],
)
def test_sizes_are_listed_coarsest_first(image_size, strides, sizes):
    levels = hierarchical_levels(image_size, strides, 8)
    assert [level.size for level in levels] == sizes
    assert {level.num_codes for level in levels} == {8}


@pytest.mark.parametrize("image_size", [(30, 32), (32, 30), (36, 32)])
def test_strides_must_divide_the_image(image_size):
    with pytest.raises(ValueError, match="{}x{}".format(*image_size)):
        hierarchical_levels(image_size, (4, 2), 8)


@pytest.mark.parametrize("level", [CODES, VECTORS])
def test_json_keeps_everything(level):
    assert Level.of(json.loads(json.dumps(level.to_json()))) == level
    assert Level.of(level) is level


def test_a_level_of_codes():
    assert CODES.size == CODES.shape == (4, 6)
    assert CODES.num_positions == 24
    assert CODES.dtype == "int32"
    assert CODES.unknown == -1
    # Each code fits, of 65,536 and of more.
    assert np.iinfo(CODES.storage).max == 65535
    assert np.iinfo(Level("layer_3", 4, 6, 65537).storage).max >= 65536


def test_codes_are_of_the_level_or_unknown():
    CODES.codes().check_all([-1, CODES.num_codes - 1])
    CODES.codes("known", 0).check_all([0])
    with pytest.raises(ValueError, match=f"`{CODES.name}`: .* Received: -2"):
        CODES.codes().check_all([0, -2])
    with pytest.raises(ValueError, match="`known`: .* Received: -1"):
        CODES.codes("known", 0).check_all([0, -1])


def test_a_level_of_vectors():
    assert VECTORS.size == (4, 6)
    assert VECTORS.shape == (4, 6, 8)
    assert VECTORS.num_positions == 24
    assert VECTORS.dtype == "float32"
    assert math.isnan(VECTORS.unknown)
    assert np.dtype(VECTORS.storage).itemsize == 2


def test_bits_are_those_of_equally_likely_codes():
    assert CODES.bits == 24 * 9
    assert Level("top", 4, 6, 6).bits == pytest.approx(24 * np.log2(6))
    assert VECTORS.bits == 24 * 8 * 16

"""Tests of the levels' names and sizes."""

import pytest

from vqvae2_tf.level import latent_map_sizes
from vqvae2_tf.level import level_names

pytestmark = pytest.mark.any_backend


@pytest.mark.parametrize(
    ("num_levels", "names"),
    [
        (1, ["top"]),
        (2, ["top", "bottom"]),
        (3, ["top", "middle", "bottom"]),
        (4, ["top", "middle_1", "middle_2", "bottom"]),
    ],
)
def test_level_names_run_from_coarse_to_fine(num_levels, names):
    assert level_names(num_levels) == names


@pytest.mark.parametrize(
    ("image_size", "strides", "sizes"),
    [
        ((256, 256), (4, 2), [(32, 32), (64, 64)]),
        ((1024, 1024), (8, 2, 2), [(32, 32), (64, 64), (128, 128)]),
        ((32, 48), (4, 2), [(4, 6), (8, 12)]),
        ((8, 4), (2,), [(4, 2)]),
    ],
)
def test_latent_map_sizes_are_listed_coarsest_first(image_size, strides, sizes):
    assert latent_map_sizes(image_size, strides) == sizes


@pytest.mark.parametrize("image_size", [(30, 32), (32, 30), (36, 32)])
def test_strides_must_divide_the_picture(image_size):
    with pytest.raises(ValueError, match="{}x{}".format(*image_size)):
        latent_map_sizes(image_size, (4, 2))

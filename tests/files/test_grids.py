"""Images as PNG files."""

import numpy as np
import pytest
from PIL import Image

from vqvae2_tf.files.grids import load_image
from vqvae2_tf.files.grids import save_grid
from vqvae2_tf.files.grids import save_image
from vqvae2_tf.files.grids import to_uint8


def test_values_are_rounded_and_clipped():
    values = np.array([-2, -1, 0.001, 1 / 127.5, 1, 2])
    np.testing.assert_array_equal(to_uint8(values), [0, 0, 128, 128, 255, 255])


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_comes_back(tmp_path, channels):
    path = str(tmp_path / "new" / "a.png")
    levels = np.random.default_rng(0).integers(256, size=(4, 5, channels))
    save_image(path, levels / 127.5 - 1)
    np.testing.assert_allclose(
        load_image(path), levels / 127.5 - 1, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("titles", [None, ["a", "a long title"]])
def test_rows_of_a_grid_lie_beside_their_titles(tmp_path, titles):
    path = str(tmp_path / "grid.png")
    rows = [np.full((3, 4, 6, 1), -1.0), np.full((2, 4, 6, 1), 0.0)]
    save_grid(path, rows, titles)
    with Image.open(path) as image:
        pixels = np.asarray(image)
    grid = pixels[:, -26:]
    expected = np.full((14, 26, 3), 255)
    for i, (count, value) in enumerate([(3, 0), (2, 128)]):
        for j in range(count):
            top, left = 2 + 6 * i, 2 + 8 * j
            expected[top : top + 4, left : left + 6] = value
    np.testing.assert_array_equal(grid, expected)
    assert (pixels.shape[1] > 26) == bool(titles)
    assert (pixels[:, :-26] < 128).any() == bool(titles)

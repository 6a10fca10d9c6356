"""A folder of samples without classes; see also commands/test_sample.py."""

import numpy as np
import pytest
from PIL import Image

from tests.helpers import normal
from vqvae2_tf.errors import UserError
from vqvae2_tf.runs.samples import CODES
from vqvae2_tf.runs.samples import IMAGES
from vqvae2_tf.runs.samples import SampleFolder


def test_without_classes_images_lie_side_by_side(tmp_path):
    folder = SampleFolder(str(tmp_path), [], keep_codes=False)
    images = np.tanh(normal(10, 4, 6, 1))
    for index in (0, *range(2, 10)):
        folder.write((0, index, 0), {"top": np.zeros((1, 1))}, images[index])
    assert folder.missing({0: range(12)}) == [(0, i, 0) for i in (1, 10, 11)]
    folder.write((0, 1, 0), {}, images[1])
    assert len(list((tmp_path / IMAGES).glob("0*.png"))) == 10
    assert not (tmp_path / CODES).exists()
    with Image.open(folder.write_grid({0: range(10)})) as grid:
        # Ten images, eight a row, 2 pixels between them.
        assert grid.size == (8 * (6 + 2) + 2, 2 * (4 + 2) + 2)
        last = np.asarray(grid.convert("L"))[8:12, 10:16]
    np.testing.assert_array_equal(
        last, np.round((images[9, ..., 0] + 1) * 127.5)
    )


def test_images_without_their_codes_do_not_count(tmp_path):
    names = ["x"] * 11
    image = np.zeros((2, 2, 3))
    SampleFolder(str(tmp_path), names, False).write((3, 0, 0), {}, image)
    folder = SampleFolder(str(tmp_path), names, True)
    folder.write((10, 0, 0), {"top": np.zeros((1, 1), "int32")}, image)
    assert folder.missing({3: [0], 10: [0]}) == [(3, 0, 0)]
    assert (tmp_path / CODES / "10_x" / "000000.npz").exists()


def test_only_whole_numbers_of_six_digits_are_images(tmp_path):
    folder = SampleFolder(str(tmp_path), [], keep_codes=False)
    (tmp_path / IMAGES).mkdir()
    for name in ("1.png", "000002", "000000.png", "000004.pngs"):
        (tmp_path / IMAGES / name).write_bytes(b"")
    assert folder.missing({0: range(6)}) == [(0, i, 0) for i in range(1, 6)]
    with pytest.raises(UserError, match="000000.png.*remove it"):
        folder.write_grid({0: [0]})


def test_variations_have_a_row_of_the_grid_each(tmp_path):
    folder = SampleFolder(str(tmp_path), ["ant", "bee"], keep_codes=False)
    images = np.tanh(normal(12, 4, 6, 3)).reshape(2, 2, 3, 4, 6, 3)
    samples = list(np.ndindex(2, 2, 3))
    for sample in samples[:-1]:
        folder.write(sample, {}, images[sample])
    numbers = dict.fromkeys([0, 1], range(2))
    assert folder.missing(numbers, 3) == [(1, 1, 2)]
    assert folder.missing(numbers) == folder.missing(numbers, 2) == []
    folder.write((1, 1, 2), {}, images[1, 1, 2])
    assert (tmp_path / IMAGES / "1_bee" / "000001_0002.png").exists()
    with Image.open(folder.write_grid(numbers, 3)) as grid:
        pixels = np.asarray(grid)
    # Both classes' first samples, then both second ones.
    assert pixels.shape[0] == 4 * (4 + 2) + 2
    np.testing.assert_array_equal(
        pixels[-6:-2, -8:-2], np.round((images[1, 1, 2] + 1) * 127.5)
    )
    np.testing.assert_array_equal(
        pixels[8:12, -8:-2], np.round((images[1, 0, 2] + 1) * 127.5)
    )

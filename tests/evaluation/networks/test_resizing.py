"""Resizing before networks, against TensorFlow 1's and Pillow's."""

import numpy as np
import pytest
from PIL import Image

from tests.helpers import array
from vqvae2_tf.evaluation.networks import resizing

SIZES = [(7, 12, 29), (40, 33, 16), (20, 20, 20)]


def images(height, width):
    rng = np.random.default_rng(0)
    return rng.integers(256, size=(2, height, width, 3)).astype("uint8")


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_bilinear_is_tensorflows_first_operation(height, width, size):
    tf = pytest.importorskip("tensorflow")
    x = images(height, width)
    expected = tf.compat.v1.image.resize_bilinear(x, (size, size))
    found = array(resizing.bilinear_tf1(x, size))
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4)


@pytest.mark.any_backend
def test_bilinear_has_no_half_pixel_centres():
    found = array(
        resizing.bilinear_tf1(np.array([0, 8]).reshape(1, 1, 2, 1), 4)
    )
    np.testing.assert_allclose(found[0, 0, :, 0], [0, 4, 8, 8])


@pytest.mark.any_backend
@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_bicubic_is_pillows(height, width, size):
    x = images(height, width)
    found = array(resizing.bicubic(x, size))
    for i, image in enumerate(x):
        for channel in range(3):
            plane = Image.fromarray(image[..., channel].astype("float32"))
            plane = plane.resize((size, size), Image.Resampling.BICUBIC)
            expected = np.clip(np.asarray(plane), 0, 255)
            np.testing.assert_allclose(
                found[i, ..., channel], expected, rtol=0, atol=1e-3
            )

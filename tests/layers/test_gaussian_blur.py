"""Tests of `gaussian_blur`, against SciPy."""

import numpy as np
import pytest
import scipy.ndimage

from tests.helpers import array
from tests.helpers import normal
from tests.helpers import run
from vqvae2_tf.layers.gaussian_blur import blur_deviation
from vqvae2_tf.layers.gaussian_blur import blur_kernel_size
from vqvae2_tf.layers.gaussian_blur import gaussian_blur

pytestmark = pytest.mark.any_backend


@pytest.mark.parametrize(
    ("shape", "size", "deviation"),
    [
        ((2, 12, 20, 3), 7, 1.5),
        ((1, 9, 5, 1), 9, 0.7),
        # Borders as wide as they may be.
        ((1, 8, 8, 3), 15, 2.8),
    ],
)
def test_equals_scipy(shape, size, deviation):
    images = normal(*shape)
    expected = scipy.ndimage.gaussian_filter(
        images, deviation, mode="mirror", radius=size // 2, axes=(1, 2)
    )
    blurred = run(lambda x: gaussian_blur(x, size, deviation), images)
    assert blurred.dtype == "float32"
    np.testing.assert_allclose(array(blurred), expected, atol=1e-5)


def test_constant_images_stay_the_same():
    images = np.full((1, 16, 24, 3), 0.75, "float32")
    blurred = run(lambda x: gaussian_blur(x, 5, 1.0), images)
    np.testing.assert_allclose(array(blurred), images, rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "kernel_size"),
    [((1024, 1024), 31), ((256, 256), 15), ((64, 64), 7), ((128, 128), 11)]
    + [((256, 1024), 15), ((8, 12), 3), ((4, 4), 3)],
)
def test_kernel_is_the_root_of_the_resolution_less_one(size, kernel_size):
    assert blur_kernel_size(size) == kernel_size


@pytest.mark.parametrize(
    ("kernel_size", "deviation"), [(3, 0.8), (15, 2.8), (31, 5.466667)]
)
def test_deviation_is_equation_8(kernel_size, deviation):
    assert blur_deviation(kernel_size) == pytest.approx(deviation)

"""SSIM against scikit-image."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from vqvae2_tf.evaluation.ssim import ssim


@pytest.mark.parametrize("shape", [(3, 11, 14, 1), (2, 32, 20, 3)])
def test_equals_scikit_image(shape):
    rng = np.random.default_rng(0)
    images = rng.random(shape)
    others = np.clip(images + rng.normal(0, 0.3, shape), 0, 1)
    others[0] = images[0]
    expected = [
        structural_similarity(
            x,
            y,
            data_range=1.0,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for x, y in zip(images, others, strict=True)
    ]
    found = ssim(images, others)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert found[0] == pytest.approx(1.0)
    assert found[1] < 0.9


@pytest.mark.parametrize(
    "shapes",
    [[(1, 10, 16, 3)] * 2, [(1, 16, 16, 3), (1, 16, 16, 1)], [(16, 16, 3)] * 2],
)
def test_other_shapes_are_refused(shapes):
    with pytest.raises(ValueError, match="H and W at least 11"):
        ssim(*map(np.zeros, shapes))

"""Errors of reconstructions against scikit-image and the whole at once."""

import numpy as np
import pytest
from skimage import metrics

from vqvae2_tf.evaluation.reconstruction_error import ReconstructionError

pytestmark = pytest.mark.any_backend


def pair(size=16):
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(7, size, size, 3))
    noise = (
        rng.normal(size=images.shape)
        * np.arange(5, 75, 10)[:, None, None, None]
    )
    return images.astype("uint8"), np.clip(images + noise, 0, 255).astype(
        "uint8"
    )


def measured(images, others, batch, **settings):
    error = ReconstructionError(**settings)
    for i in range(0, len(images), batch):
        error.add(images[i : i + batch], others[i : i + batch])
    return error.results()


def test_values_are_scikit_images():
    images, others = pair()
    found = measured(images, others, 3)
    errors = [
        metrics.mean_squared_error(x / 255, y / 255)
        for x, y in zip(images, others, strict=True)
    ]
    value, standard_error = found["mse"]
    assert value == pytest.approx(np.mean(errors), rel=1e-12)
    assert standard_error == pytest.approx(np.std(errors, ddof=1) / 7**0.5)
    # Pooled: one image of all pixels.
    pooled = metrics.peak_signal_noise_ratio(images, others, data_range=255)
    assert found["psnr"][0] == pytest.approx(pooled, rel=1e-9)
    expected = [
        metrics.structural_similarity(
            x,
            y,
            channel_axis=-1,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for x, y in zip(images, others, strict=True)
    ]
    assert found["ssim"][0] == pytest.approx(np.mean(expected), abs=1e-5)


def test_batches_change_nothing():
    images, others = pair()

    def distance(x, y):
        return np.abs(x.astype(int) - y).max((1, 2, 3))

    whole = measured(images, others, 7, distance=distance)
    assert whole["distance"][0] == pytest.approx(
        distance(images, others).mean()
    )
    for name, values in measured(images, others, 2, distance=distance).items():
        assert values == pytest.approx(whole[name], rel=1e-12)


def test_the_pooled_psnrs_standard_error_is_the_bootstraps():
    images, others = pair()
    images, others = (
        np.tile(images, (9, 1, 1, 1)),
        np.tile(others, (9, 1, 1, 1)),
    )
    errors = np.mean((images / 255 - others / 255) ** 2, (1, 2, 3))
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(errors), size=(4000, len(errors)))
    expected = np.std(-10 * np.log10(errors[chosen].mean(1)))
    _, found = measured(images, others, 9)["psnr"]
    assert found == pytest.approx(expected, rel=0.1)


def test_small_images_have_no_ssim():
    assert set(measured(*pair(10), 7)) == {"mse", "psnr"}
    assert measured(*pair(10), 1)["mse"][1] is not None
    images, others = pair(10)
    assert measured(images[:1], others[:1], 1)["psnr"][1] is None

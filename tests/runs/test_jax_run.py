"""A whole run on JAX, which ends with what TensorFlow alone can load."""

import keras
import numpy as np
import pytest

from tests.helpers import array
from tests.small_run import FLAGS
from tests.small_run import IMAGE_SIZE
from tests.small_run import call
from tests.small_run import save_images

pytestmark = [
    pytest.mark.large,
    pytest.mark.any_backend,
    pytest.mark.skipif(
        keras.backend.backend() != "jax", reason="trains on JAX"
    ),
]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    from vqvae2_tf.commands import train

    folder = tmp_path_factory.mktemp("jax")
    save_images(folder / "images")
    arguments = [
        *FLAGS,
        f"--dataset=folder:{folder / 'images'}",
        f"--data_dir={folder / 'tfds'}",
        f"--run_dir={folder / 'run'}",
    ]
    assert call(train, *arguments) is None
    # Finished, it finds nothing to do.
    assert call(train, *arguments) is None
    return folder / "run"


def test_a_run_ends_with_the_files_of_a_run_on_tensorflow(run_dir):
    assert {path.name for path in run_dir.iterdir()} >= {
        *("autoencoder", "codes", "prior_top", "prior_bottom"),
        *("saved_models", "metrics.json", "reconstructions.png"),
        "samples.png",
    }
    for name in ("autoencoder", "prior_top", "prior_bottom"):
        assert list((run_dir / name / "logs").glob("events*"))


def test_tensorflow_draws_the_samples_of_jax(run_dir):
    import jax

    from vqvae2_tf.export import load
    from vqvae2_tf.sampling import sample_levels

    autoencoder, top, bottom = (
        keras.saving.load_model(run_dir / name / "model.keras")
        for name in ("autoencoder", "prior_top", "prior_bottom")
    )
    images = np.tanh(np.random.default_rng(0).normal(size=(2, *IMAGE_SIZE, 3)))
    images = images.astype("float32")
    saved = load.Autoencoder(str(run_dir / "saved_models" / "autoencoder"))
    for expected, codes in zip(
        autoencoder.encode(images), saved.encode(images).values(), strict=True
    ):
        np.testing.assert_array_equal(array(expected), codes)
    generator = load.Generator(str(run_dir / "saved_models" / "generator"))
    labels, seed = np.int32([2, 0, 1]), 5
    options = {f.name: f.default for f in generator.sampling_flags}
    drawn = generator.sample_codes(labels, seed, np.arange(3), options)
    expected = jax.jit(lambda x: sample_levels([top, bottom], x, seed=seed))(
        labels
    )
    for one, other in zip(expected, drawn.values(), strict=True):
        np.testing.assert_array_equal(array(one), other)

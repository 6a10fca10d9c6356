"""SavedModels in a process that has neither Keras nor this package."""

import subprocess
import sys

import keras
import numpy as np

from tests.helpers import array
from tests.helpers import normal
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.export import write as export
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.sampling import sample_levels

IMAGE_SIZE = (8, 12)

LOADER = """
import sys
for name in ("keras", "tf_keras", "vqvae2_tf"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf

folder = sys.argv[1]
images = np.load(f"{folder}/images.npy")
autoencoder = tf.saved_model.load(f"{folder}/autoencoder")
generator = tf.saved_model.load(f"{folder}/generator")
codes = autoencoder.encode(images)
results = {
    **{f"codes_{name}": value.numpy() for name, value in codes.items()},
    "decoded": autoencoder.decode(codes["top"], codes["bottom"]).numpy(),
    "signature": autoencoder.signatures["decode"](**codes)[
        "output_0"].numpy(),
    "reconstructed": autoencoder.reconstruct(images).numpy(),
    "one": autoencoder.reconstruct(images[:1]).numpy(),
    "top_only": autoencoder.decode(
        codes["top"], -np.ones_like(codes["bottom"])).numpy(),
    "bottom_codebook": autoencoder.codebooks()["bottom"].numpy(),
    "class_names": [name.decode() for name in generator.class_names().numpy()],
}
for name, temperature in (("shared", 0.7), ("levels", [0.7, 0.2])):
    results[f"sampled_{name}"] = generator.sample(
        tf.constant([2, 0, 1]), tf.constant(temperature), tf.constant(5)
    ).numpy()
results["sampled_one"] = generator.sample(
    tf.constant([2]), tf.constant(0.7), tf.constant(5)).numpy()
# The third and the first image of the sample, by their numbers.
codes = generator.sample_codes(tf.constant([1, 2]), tf.constant(0.7),
                               tf.constant(5), tf.constant([2, 0]),
                               tf.constant(6), tf.constant(1.0))
truncated = generator.sample_codes(
    tf.constant([2, 0, 1]), tf.constant(0.7), tf.constant(5),
    tf.constant([0, 1, 2]), tf.constant([1, 6]), tf.constant([1.0, 0.4]))
for name, value in truncated.items():
    results[f"truncated_{name}"] = value.numpy()
results["sampled_numbers"] = generator.decode(
    codes["top"], codes["bottom"]).numpy()
refused = []
for label, temperature in ((-1, 0.7), (3, 0.7), (0, 0.0), (0, -1.0)):
    try:
        generator.sample(tf.constant([label]), tf.constant(temperature),
                         tf.constant(5))
    except tf.errors.InvalidArgumentError as error:
        refused.append("labels" if "labels must" in str(error) else
                       "temperature" if "temperature must" in str(error) else
                       str(error))
results["refused"] = refused
np.savez(f"{folder}/results.npz", **results)
"""


def test_saved_models_need_only_tensorflow(tmp_path):
    keras.utils.set_random_seed(0)
    model = VQVAE2(
        strides=(2, 2),
        hidden_units=4,
        residual_units=2,
        num_codes=6,
        code_dim=3,
    )
    model.build((None, *IMAGE_SIZE, 3))
    images = np.tanh(normal(5, *IMAGE_SIZE, 3))
    model(images, training=True)
    sizes = [(2, 3), (4, 6)]
    priors = [
        PixelSNAIL(sizes[0], 6, 8, 8, 2, 2, 2, num_classes=3),
        PixelSNAIL(
            sizes[1],
            6,
            8,
            8,
            1,
            0,
            num_classes=3,
            coarser_map_sizes=sizes[:1],
            num_conditioning_blocks=2,
            conditioning_units=8,
        ),
    ]
    for prior, size in zip(priors, sizes, strict=True):
        prior.build((None, *size))
    export.export_autoencoder(model, IMAGE_SIZE, str(tmp_path / "autoencoder"))
    export.export_generator(
        model, priors, str(tmp_path / "generator"), ["ant", "bee", "cow"]
    )
    np.save(tmp_path / "images.npy", images)
    subprocess.run(
        [sys.executable, "-c", LOADER, str(tmp_path)], cwd="/", check=True
    )

    results = np.load(tmp_path / "results.npz")
    outputs = model(images)
    restored = np.clip(array(outputs["reconstruction"]), -1, 1)
    for name, codes in zip(model.level_names, outputs["codes"], strict=True):
        np.testing.assert_array_equal(results[f"codes_{name}"], codes)
    for name in ("decoded", "signature", "reconstructed"):
        np.testing.assert_allclose(results[name], restored, atol=1e-6)
    np.testing.assert_allclose(results["one"], restored[:1], atol=1e-6)
    for name, temperatures in (("shared", [0.7] * 2), ("levels", [0.7, 0.2])):
        codes = sample_levels(
            priors, labels=[2, 0, 1], temperatures=temperatures, seed=5
        )
        expected = np.clip(array(model.decode(codes)), -1, 1)
        np.testing.assert_allclose(
            results[f"sampled_{name}"], expected, atol=1e-6
        )
    np.testing.assert_allclose(
        results["sampled_one"], results["sampled_shared"][:1], atol=1e-6
    )
    np.testing.assert_allclose(
        results["sampled_numbers"],
        results["sampled_shared"][[2, 0]],
        atol=1e-6,
    )
    truncated = sample_levels(
        priors,
        labels=[2, 0, 1],
        temperatures=[0.7] * 2,
        seed=5,
        top_ks=[1, None],
        top_ps=[None, 0.4],
    )
    for name, codes in zip(model.level_names, truncated, strict=True):
        np.testing.assert_array_equal(results[f"truncated_{name}"], codes)
    assert list(results["refused"]) == 2 * ["labels"] + 2 * ["temperature"]
    np.testing.assert_array_equal(
        results["bottom_codebook"], array(model.quantizers[1].codebook)
    )
    unknown = -np.ones_like(outputs["codes"][1])
    top_only = array(model.decode([outputs["codes"][0], unknown]))
    np.testing.assert_allclose(
        results["top_only"], np.clip(top_only, -1, 1), atol=1e-6
    )
    assert list(results["class_names"]) == ["ant", "bee", "cow"]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"autoencoder", "generator", "images.npy", "results.npz"}

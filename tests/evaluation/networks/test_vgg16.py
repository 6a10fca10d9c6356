"""VGG-16 against that of Keras Applications, on random weights."""

import h5py
import keras
import numpy as np
import pytest

from tests.evaluation.networks.test_inception import images
from tests.helpers import array
from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation.networks import vgg16
from vqvae2_tf.evaluation.networks.vgg16 import VGG16
from vqvae2_tf.runs.feature_networks import open_network


@pytest.mark.large
def test_features_are_those_of_keras_applications(tmp_path, monkeypatch):
    # Images of 32 pixels, as 224 need 550 MB of weights.
    monkeypatch.setattr(VGG16, "input_size", 32)
    expected = keras.applications.VGG16(
        weights=None, input_shape=(32, 32, 3), classifier_activation=None
    )
    path = tmp_path / "vgg16.h5"
    with h5py.File(path, "w") as file:
        for layer in filter(lambda layer: layer.weights, expected.layers):
            bias = np.linspace(-1, 1, layer.bias.shape[0])
            layer.bias.assign(bias)
            for name, value in (("W", layer.kernel), ("b", layer.bias)):
                key = f"{layer.name}/{layer.name}_{name}_1:0"
                file[key] = array(value)
    network = open_network("vgg16", str(path))
    pixels = images(32, 32)
    found = network(pixels)
    outputs = keras.Model(
        expected.inputs,
        [expected.get_layer("fc2").output, expected.output],
    )
    scaled = keras.applications.vgg16.preprocess_input(pixels.astype("float32"))
    features, logits = map(array, outputs(scaled))
    assert features.shape == (2, 4096)
    for name, values in (("features", features), ("logits", logits)):
        np.testing.assert_allclose(
            found[name], values, rtol=1e-3, atol=1e-4 * values.std()
        )


def test_missing_weights_are_told_in_one_sentence(monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no route\nto host")

    monkeypatch.setattr(vgg16.keras.utils, "get_file", no_network)
    with pytest.raises(UserError, match="not in Keras' cache") as error:
        open_network("vgg16")
    assert "--weights" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="--weights=x.h5.*no such file"):
        open_network("vgg16", "x.h5")

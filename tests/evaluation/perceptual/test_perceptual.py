"""Perceptual distances against their authors' packages."""

import importlib
import zlib

import numpy as np
import pytest

from tests.evaluation.networks.test_inception import images
from vqvae2_tf.errors import UserError
from vqvae2_tf.files.state_dict import read_state_dict

pytestmark = pytest.mark.any_backend

# Of lpips 0.1.4 and stlpips-pytorch 0.0.2 on torch 2.14.1 (CPU): two images
# and the same, moved by three pixels. LPIPS has the weights of `weight`.
GOLDENS = {
    "lpips_alex": [0.27914664, 0.23383038],
    "lpips_vgg": [0.24237482, 0.20346661],
    "stlpips_alex": [0.04326743, 0.03196076],
}
TRUNKS = {
    "lpips_alex": {
        0: (64, 3, 11, 11),
        3: (192, 64, 5, 5),
        6: (384, 192, 3, 3),
        8: (256, 384, 3, 3),
        10: (256, 256, 3, 3),
    },
    "lpips_vgg": {
        index: (width, inputs, 3, 3)
        for index, inputs, width in (
            (0, 3, 64),
            (2, 64, 64),
            (5, 64, 128),
            (7, 128, 128),
            (10, 128, 256),
            (12, 256, 256),
            (14, 256, 256),
            (17, 256, 512),
            *((index, 512, 512) for index in (19, 21, 24, 26, 28)),
        )
    },
}
WIDTHS = {
    "lpips_alex": (64, 192, 384, 256, 256),
    "lpips_vgg": (64, 128, 256, 512, 512),
}


def model_of(name):
    return importlib.import_module(
        f"vqvae2_tf.evaluation.perceptual.{name}"
    ).Model


def weight(name, shape):
    """A weight that depends on its name alone."""
    values = np.random.default_rng(zlib.crc32(name.encode())).random(shape)
    if len(shape) == 1:
        values = (values - 0.5) * 0.2
    elif not name.startswith("lin"):
        values = (2 * values - 1) * np.sqrt(6 / np.prod(shape[1:]))
    return values.astype("float32")


def random_weights(name):
    shapes = {}
    for index, shape in TRUNKS[name].items():
        shapes[f"features.{index}.weight"] = shape
        shapes[f"features.{index}.bias"] = shape[:1]
    for i, width in enumerate(WIDTHS[name]):
        shapes[f"lin{i}.model.1.weight"] = (1, width, 1, 1)
    return {n: weight(n, shape) for n, shape in shapes.items()}


def pair():
    one = images(64, 70)
    return one, np.roll(one, 3, 2)


@pytest.mark.large
@pytest.mark.parametrize("name", TRUNKS)
def test_lpips_is_its_authors(name):
    distance = model_of(name)(random_weights(name))
    np.testing.assert_allclose(distance(*pair()), GOLDENS[name], rtol=1e-4)
    one, _ = pair()
    np.testing.assert_array_equal(distance(one, one), [0, 0])
    assert not distance.is_official


@pytest.mark.large
def test_shift_tolerant_lpips_is_its_authors():
    pytest.importorskip("stlpips_pytorch", reason="64 MB, not in dev")
    model = model_of("stlpips_alex")
    (path,) = model.default_weights()
    found = model(read_state_dict(path))(*pair())
    np.testing.assert_allclose(found, GOLDENS["stlpips_alex"], rtol=1e-4)


def test_mistakes_are_told_in_one_sentence():
    model = model_of("lpips_alex")
    with pytest.raises(UserError, match="--perceptual_weights=TRUNK,LINEAR"):
        model.default_weights()
    weights = random_weights("lpips_alex")
    small = np.zeros((1, 16, 16, 3), "uint8")
    with pytest.raises(UserError, match="at least 32 pixels. Received: 16x16"):
        model(weights)(small, small)
    weights.pop("features.6.bias")
    image = np.zeros((1, 32, 32, 3), "uint8")
    with pytest.raises(UserError, match="features.6.bias among them"):
        model(weights)(image, image)
    weights = random_weights("lpips_alex")
    weights["features.6.weight"] = weights["features.6.weight"][:, 1:]
    with pytest.raises(UserError, match="features.6.weight of shape"):
        model(weights)(image, image)

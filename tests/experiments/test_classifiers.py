"""The classifiers of `cas.py`: their sizes, and the shortcuts of ResNet-56."""

import importlib.util
import pathlib

import numpy as np
import pytest

from tests.helpers import array
from tests.helpers import normal
from tests.helpers import run
from tests.helpers import zero_initializers

pytestmark = pytest.mark.any_backend
EXPERIMENTS = pathlib.Path(__file__).parents[2] / "experiments"


def make(name, image_size, num_classes):
    spec = importlib.util.spec_from_file_location(
        name, EXPERIMENTS / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with zero_initializers():
        return module.make_classifier(image_size, num_classes)


def test_resnet56_has_the_papers_size():
    network = make("resnet56", (32, 32), 10)
    sizes = [np.prod(v.shape) for v in network.trainable_variables]
    # "0.85 M" in the paper's table 6.
    assert sum(sizes) == 853_018
    layers = [v for v in network.trainable_variables if v.name == "kernel"]
    assert len(layers) == 56


@pytest.mark.large
def test_resnet56_has_shortcuts_without_weights():
    network = make("resnet56", (8, 12), 10)
    convolutions = [v for v in network.weights if v.name == "kernel"]
    # All blocks add nothing, so that the shortcuts alone are left.
    first, *_, last = convolutions
    first.assign(normal(*first.shape))
    last.assign(normal(*last.shape))
    images = normal(2, 8, 12, 3)
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)])
    found = np.zeros((2, 8, 12, 16), "float32")
    for i in range(3):
        for j in range(3):
            found += padded[:, i : i + 8, j : j + 12] @ array(first)[i, j]
    found = np.maximum(found / np.sqrt(1 + 1e-3), 0)[:, ::4, ::4]
    pooled = np.pad(found.mean((1, 2)), [(0, 0), (0, 48)])
    logits = run(network, images)
    np.testing.assert_allclose(
        array(logits), pooled @ array(last), rtol=1e-4, atol=1e-4
    )


@pytest.mark.large
def test_resnet50_has_the_size_that_keras_publishes():
    network = make("resnet50", (64, 64), 1000)
    assert network.count_params() == 25_636_712
    assert network.output_shape == (None, 1000)

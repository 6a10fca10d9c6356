"""What all feature networks do, by one of means and a matrix."""

import numpy as np
import pytest

from tests.evaluation.networks.test_inception import images
from tests.helpers import array
from tests.toy_network import ToyNetwork
from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation.networks import resizing

pytestmark = pytest.mark.any_backend

KERNEL = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")


def test_images_of_any_size_are_resized_and_measured():
    network = ToyNetwork({"kernel": KERNEL})
    for size in ((6, 9), (3, 3), (6, 9)):
        found = network(images(*size))
        resized = array(resizing.bilinear_tf1(images(*size), 4))
        expected = resized.mean((1, 2)) @ KERNEL
        np.testing.assert_allclose(found["features"], expected, rtol=1e-3)
        np.testing.assert_allclose(found["logits"], 2 * expected, rtol=1e-3)
        assert found["features"].dtype == np.float32


def test_the_card_tells_other_weights():
    card = ToyNetwork({"kernel": KERNEL}).card()
    assert card == ToyNetwork({"kernel": KERNEL.copy(), "more": 1}).card()
    assert card["resize"] == "bilinear_tf1_4"
    other = ToyNetwork({"kernel": KERNEL + 1e-6}).card()
    assert {key for key in card if card[key] != other[key]} == {"weights"}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"other": KERNEL}, "kernel among them. Received: 1 others"),
        ({"kernel": KERNEL.T}, r"shapes \[\(3, 5\)\]. Received: \[\(5, 3\)\]"),
    ],
)
def test_other_weights_are_refused(arrays, words):
    with pytest.raises(UserError, match=words) as error:
        ToyNetwork(arrays)
    assert "\n" not in str(error.value)

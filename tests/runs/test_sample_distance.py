"""The distance of samples shown in training, against SciPy."""

import numpy as np
import pytest
from scipy import linalg

from tests.helpers import array
from tests.runs.test_sample_grid import as_images
from tests.runs.test_sample_grid import make_toy
from tests.training import small
from vqvae2_tf.files.grids import to_uint8
from vqvae2_tf.runs.redrawing import make_redraw
from vqvae2_tf.runs.sample_distance import make_sample_distance
from vqvae2_tf.sampling import sample
from vqvae2_tf.training.devices import open_devices

pytestmark = pytest.mark.any_backend

SEED, COUNT = 5, 70


class Network:
    """Mean and deviation of each half of an image."""

    batches = 0

    def card(self):
        return {"network": "toy"}

    def __call__(self, images):
        self.batches += 1
        return {"features": features_of(images)}


def features_of(images):
    assert images.dtype == np.uint8
    assert images.shape[1:] == (4, 6, 3)
    halves = images.reshape(len(images), 2, -1).astype("float32")
    return np.concatenate([halves.mean(-1), halves.std(-1)], axis=1)


def frechet(x, y):
    c, e = np.cov(x.T), np.cov(y.T)
    root = np.trace(np.real(linalg.sqrtm(c @ e)))
    off = x.mean(0) - y.mean(0)
    return off @ off + np.trace(c) + np.trace(e) - 2 * root


def images_of(maps):
    return np.repeat(to_uint8(as_images(maps)), 3, axis=-1)


def test_the_distance_is_of_samples_like_the_examples():
    prior, codes, network = make_toy(), small.codes(COUNT), Network()
    distance = make_sample_distance(
        make_redraw(prior, open_devices("one"), SEED, {"sharpness": 0.5}),
        small.examples(codes, COUNT),
        as_images,
        network,
    )
    top, bottom = codes["codes"]
    originals = features_of(images_of([top, bottom])).astype("float64")
    found = []
    for bias in (0.0, 2.0):
        prior.logits.bias.assign(np.arange(24 * 5) % 5 * bias)
        drawn = sample(
            prior,
            seed=SEED,
            sample_ids=np.arange(COUNT, dtype="int32"),
            labels=codes["label"],
            coarser=[top],
            sharpness=0.5,
        )
        drawn = features_of(images_of([top, array(drawn)])).astype("float64")
        value = distance()
        assert value.keys() == {"fd_toy*"}
        expected = frechet(drawn, originals)
        np.testing.assert_allclose(value["fd_toy*"], expected, rtol=1e-5)
        found.append(expected)
    # It sees the weights of the moment; the examples' features are kept.
    assert found[1] > 2 * found[0]
    assert network.batches == 3 + 3 + 3


def test_examples_distance_to_themselves_is_0():
    examples = small.examples(small.codes(COUNT), COUNT)
    maps = as_images, Network()
    distance = make_sample_distance(
        lambda batch, ids: [batch["codes"]] * 2, examples, *maps
    )
    assert distance()["fd_toy*"] == pytest.approx(0.0, abs=1e-6)

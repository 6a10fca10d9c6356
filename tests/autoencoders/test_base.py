"""Parts of autoencoders that stay as they are in training."""

import keras
import numpy as np
import pytest

from tests.helpers import array
from tests.helpers import arrays
from tests.helpers import normal
from tests.toy_autoencoder import ToyAutoencoder
from tests.training import small
from vqvae2_tf.runs import networks

pytestmark = pytest.mark.any_backend


class Normalized(ToyAutoencoder):
    """Batch statistics are in a part of their own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = keras.layers.BatchNormalization()

    def call(self, images, training=False):
        images = self.norm(images, training=training)
        return super().call(images, training=training)

    def parts(self):
        return {
            "norm": [self.norm],
            "selectors": self.selectors,
            "colours": self.colours,
        }


def train(trainer, model, frozen):
    """Trains; checks that the frozen parts alone are as before, to the bit."""
    parts = model.parts()
    kept = {
        id(variable)
        for name in frozen
        for layer in parts[name]
        for variable in layer.variables
    }
    before = arrays(model.variables)
    trainer.run(4)
    changed = {
        id(variable)
        for variable, old in zip(model.variables, before, strict=True)
        if not np.array_equal(array(variable), old)
    }
    assert kept and not kept & changed
    for name in parts.keys() - {*frozen}:
        assert changed & {id(v) for x in parts[name] for v in x.variables}
    with trainer.averaged():
        for variable, old in zip(model.variables, before, strict=True):
            if id(variable) in kept:
                np.testing.assert_array_equal(array(variable), old)


@pytest.mark.parametrize(
    "frozen",
    [
        ["norm", "colours"],
        pytest.param(["selectors"], marks=pytest.mark.large),
    ],
)
def test_weights_and_batch_statistics_of_frozen_parts_stay(frozen):
    devices = small.open_devices("one")
    with devices.scope():
        model = Normalized()
        model.build((None, 8, 8, 3))
    model.freeze(frozen)
    examples = small.examples(small.images())
    trainer = devices.trainer(model, examples, small.plan())
    train(trainer, model, frozen)


@pytest.mark.large
@pytest.mark.parametrize("name", ["autoencoder", "hr_vqvae", "ms_vqvae"])
@pytest.mark.parametrize(
    "frozen", [["encoder", "codebook"], ["decoder"], ["codebook", "decoder"]]
)
def test_frozen_parts_of_each_system_stay(name, frozen):
    # A codebook that has not started, and restarts of dead codes.
    trainer = small.make_trainer(name, frozen=frozen)
    train(trainer, trainer._model, frozen)


@pytest.mark.parametrize("name", ["vqvae2", "hr_vqvae", "ms_vqvae"])
def test_the_parts_are_the_whole(name):
    def check():
        model = networks.find("autoencoder", name)()
        model.build((None, 8, 8, 3))
        parts = model.parts()
        assert list(parts) == ["encoder", "codebook", "decoder"]
        found = [v for part in parts.values() for x in part for v in x.weights]
        assert sorted(map(id, found)) == sorted(map(id, model.weights))

    networks.without_weights(check)


@pytest.mark.large
@pytest.mark.parametrize("name", ["autoencoder", "hr_vqvae", "ms_vqvae"])
def test_codes_are_the_encoders_and_images_the_decoders(name):
    model = small.make_autoencoder(name, random=False)
    images = small.images(2)["image"]
    first, codes = arrays(model.weights), arrays(model.encode(images))
    restored = array(model.decode(codes))

    def changed(part):
        for variable, value in zip(model.weights, first, strict=True):
            variable.assign(value)
        for layer in model.parts()[part]:
            layer.set_weights(
                [x + normal(*x.shape, seed=1) for x in layer.get_weights()]
            )
        others = model.encode(images)
        other_codes = any(
            not np.array_equal(array(x), y)
            for x, y in zip(others, codes, strict=True)
        )
        image = array(model.decode(codes))
        return other_codes, not np.array_equal(image, restored)

    assert changed("encoder") == (True, False)
    # Those of the MS-VQVAE tell the finer scales what they made.
    assert changed("decoder") == (name == "ms_vqvae", True)


def test_other_parts_are_refused():
    with pytest.raises(ValueError, match="it names none.*Received: encoder"):
        ToyAutoencoder().freeze(["encoder"])
    model = Normalized()
    with pytest.raises(ValueError, match="norm, selectors, colours.*: decoder"):
        model.freeze(["decoder"])
    model.build((None, 8, 8, 3))
    with pytest.raises(ValueError, match="`freeze`: .* leave weights to train"):
        model.freeze(["norm", "selectors", "colours"])

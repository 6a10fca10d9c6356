"""A decoder from elsewhere, in the generator of priors on its codes."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import integers
from tests.toy_prior import ToyPrior
from vqvae2_tf.autoencoders import External
from vqvae2_tf.errors import UserError
from vqvae2_tf.export import load
from vqvae2_tf.export import write

TEXTS = ["top:2x3:4", "bottom:4x6:8"]
LEVELS = External(TEXTS).levels((0, 0))
SHADES = np.linspace(-1.5, 1.5, 8, dtype="float32")


def decoded(top, bottom):
    """What the toy decoder gives, in NumPy."""
    top = np.repeat(np.repeat(top, 2, axis=1), 2, axis=2)
    return (SHADES[bottom] * (top > 0))[..., None]


def save_decoder(path, decode=None):
    """A decoder with a variable and a table; or another function."""
    module = tf.Module()
    module.shades = tf.Variable(SHADES)
    keys = tf.range(4)
    pairs = tf.lookup.KeyValueTensorInitializer(keys, tf.sign(keys))
    module.table = tf.lookup.StaticHashTable(pairs, 0)

    def own(top, bottom):
        top = tf.cast(module.table.lookup(top), tf.float32)
        top = tf.repeat(tf.repeat(top, 2, axis=1), 2, axis=2)
        return (tf.gather(module.shades, bottom) * top)[..., None]

    specs = [tf.TensorSpec((None, *level.shape), "int32") for level in LEVELS]
    module.decode = tf.function(decode or own, specs)
    tf.saved_model.save(module, str(path))


@pytest.mark.large
def test_a_generator_decodes_alone_with_the_decoder(tmp_path):
    save_decoder(tmp_path / "decoder")
    autoencoder = External(TEXTS, str(tmp_path / "decoder"))
    priors = [ToyPrior(LEVELS[0]), ToyPrior(LEVELS[1], LEVELS[:1])]
    for prior in priors:
        prior.build((None, *prior.level.shape))
    write.export_generator(autoencoder, priors, str(tmp_path / "generator"))
    # It needs the decoder no more.
    shutil.rmtree(tmp_path / "decoder")
    generator = load.Generator(str(tmp_path / "generator"))
    codes = {
        level.name: integers(level.num_codes, 5, *level.shape)
        for level in LEVELS
    }
    images = generator.decode(codes)
    expected = np.clip(decoded(codes["top"], codes["bottom"]), -1, 1)
    np.testing.assert_allclose(images, expected, atol=1e-6)
    assert images.std() > 0.1


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (lambda top, bottom: tf.cast(bottom, "float32"), "float32 (2, 4, 6)"),
        (lambda top, bottom: bottom[..., None], "int32 (2, 4, 6, 1) of two"),
        (lambda top, bottom: tf.zeros((2, 8, 8, 4)), "float32 (2, 8, 8, 4)"),
        (lambda top, bottom: tf.zeros((1, 8, 8, 3)), "float32 (1, 8, 8, 3)"),
        (lambda top, bottom: {"images": tf.zeros((2, 8, 8, 3))}, "dict"),
    ],
)
def test_another_function_is_refused(tmp_path, decode, message):
    path = str(tmp_path / "decoder")
    save_decoder(path, decode)
    expected = r"\[B, 2, 3\] and \[B, 4, 6\] .*images.*Received: .*"
    with pytest.raises(UserError, match=f"--decoder={path}: .*{expected}") as e:
        load.load_decoder(path, LEVELS)
    assert message in str(e.value)


def test_a_decoder_of_other_maps_is_refused(tmp_path):
    save_decoder(tmp_path / "decoder")
    path = str(tmp_path / "decoder")
    load.load_decoder(path, LEVELS)
    for levels in (LEVELS[:1], LEVELS[::-1]):
        with pytest.raises(UserError, match="expected a function `decode`"):
            load.load_decoder(path, levels)


def test_what_is_no_decoder_is_refused(tmp_path):
    with pytest.raises(UserError, match="--decoder=.*no cannot be loaded"):
        load.load_decoder(str(tmp_path / "no"), LEVELS)
    tf.saved_model.save(tf.Module(), str(tmp_path / "empty"))
    with pytest.raises(UserError, match="Received: a SavedModel without it"):
        load.load_decoder(str(tmp_path / "empty"), LEVELS)

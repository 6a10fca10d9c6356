"""Sampling: exact, seeded, and told of labels and coarser codes."""

import itertools

import keras
import numpy as np
import pytest

from tests.helpers import array
from tests.helpers import compiled
from tests.helpers import integers
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.sampling import noise
from vqvae2_tf.sampling import sample
from vqvae2_tf.sampling import sample_levels

pytestmark = pytest.mark.any_backend

NUM_CODES = 5


def make_prior(**kwargs):
    keras.utils.set_random_seed(0)
    prior = PixelSNAIL(
        **{
            "map_size": (2, 3),
            "num_codes": NUM_CODES,
            "hidden_units": 8,
            "residual_units": 8,
            "num_layers": 2,
            "attention_every": 1,
            "num_heads": 2,
            "num_classes": 3,
            **kwargs,
        }
    )
    prior.build()
    # Logits far enough apart to matter beside the noise.
    kernel = prior.logits.kernel
    kernel.assign(4.0 * kernel)
    return prior


def draw(prior, **kwargs):
    """Sampled codes, in one compiled call."""
    return array(compiled(lambda: sample(prior, **kwargs), prior)())


def test_codes_are_the_argmax_of_logits_and_noise_one_after_another():
    prior = make_prior()
    labels = np.array([2, 0], "int32")
    codes = draw(prior, labels=labels, temperature=0.7, seed=9)
    bits = noise.random_bits(9, np.arange(2), np.arange(6), NUM_CODES)
    gumbel = array(noise.gumbel(bits))
    expected = np.zeros((2, 6), "int32")
    for position in range(6):
        logits = array(prior(expected.reshape(2, 2, 3), labels=labels))
        logits = logits.reshape(2, 6, NUM_CODES)[:, position]
        scores = logits / 0.7 + gumbel[:, position]
        expected[:, position] = scores.argmax(axis=-1)
    np.testing.assert_array_equal(codes.reshape(2, 6), expected)


def test_frequencies_are_the_priors_probabilities():
    count = 4000
    prior = make_prior(map_size=(1, 2), num_codes=3, num_classes=0)
    codes = draw(prior, batch_size=count, seed=1).reshape(count, 2)
    maps = np.array(list(itertools.product(range(3), repeat=2)), "int32")
    logits = array(prior(maps.reshape(9, 1, 2)))
    log_probabilities = array(keras.ops.log_softmax(logits))
    chosen = np.take_along_axis(
        log_probabilities.reshape(9, 2, 3), maps[..., None], axis=-1
    )
    expected = np.exp(chosen.sum(axis=(1, 2)))
    seen = np.mean((codes[:, None] == maps).all(axis=-1), axis=0)
    error = 4 * np.sqrt(expected * (1 - expected) / count)
    assert (np.abs(seen - expected) < error + 1e-3).all()


def test_a_seed_fixes_the_result_and_another_changes_it():
    prior = make_prior()
    labels = np.zeros(20, "int32")
    first = draw(prior, labels=labels, seed=1)
    np.testing.assert_array_equal(first, draw(prior, labels=labels, seed=1))
    assert (first != draw(prior, labels=labels, seed=2)).any()


def test_an_image_does_not_depend_on_its_batch():
    prior = make_prior()
    labels = np.array([0, 1, 2, 1], "int32")
    together = draw(prior, labels=labels, seed=4)
    alone = draw(prior, labels=labels[2:], seed=4, images=np.array([2, 3]))
    np.testing.assert_array_equal(together[2:], alone)


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_size": 3},
        {"images": np.arange(3)},
        {"given": np.zeros((6, 2, 3), "int32"), "keep": np.ones((2, 3), bool)},
    ],
)
def test_batches_of_two_sizes_are_refused(arguments):
    with pytest.raises(ValueError, match=r"equally many images.*\[2, \d\]"):
        sample(make_prior(), labels=np.array([0, 1], "int32"), **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"temperature": np.float32(0)},
        {"temperature": 1e-45},
        {"top_p": np.float32(0)},
        {"top_k": np.int32(0)},
    ],
)
def test_numbers_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        sample(make_prior(), labels=np.array([0]), **arguments)


def test_compiled_is_eager():
    prior = make_prior()
    labels = np.array([0, 1], "int32")

    np.testing.assert_array_equal(
        draw(prior, labels=labels, seed=5),
        array(sample(prior, labels=labels, seed=5)),
    )


def test_low_temperature_gives_the_likeliest_codes():
    prior = make_prior()
    labels = np.zeros(8, "int32")
    codes = draw(prior, labels=labels, temperature=1e-6)
    assert (codes == codes[:1]).all()


def test_levels_are_given_the_coarser_ones():
    top = make_prior(map_size=(2, 3))
    bottom = make_prior(
        map_size=(4, 6),
        coarser_map_sizes=[(2, 3)],
        num_conditioning_blocks=2,
        conditioning_units=8,
        num_classes=0,
    )
    labels = np.array([1, 2], "int32")
    both = compiled(
        lambda: sample_levels(
            [top, bottom], labels=labels, temperatures=[1.0, 0.5], seed=3
        ),
        bottom,
    )
    codes = [array(level) for level in both()]
    np.testing.assert_array_equal(codes[0], draw(top, labels=labels, seed=3))
    np.testing.assert_array_equal(
        codes[1], draw(bottom, coarser=codes[:1], temperature=0.5, seed=3)
    )


def test_many_bottoms_of_one_top():
    top = make_prior(map_size=(2, 3), num_classes=0)
    bottom = make_prior(
        map_size=(4, 6),
        coarser_map_sizes=[(2, 3)],
        num_conditioning_blocks=2,
        conditioning_units=8,
        num_classes=0,
    )
    given = np.repeat(integers(NUM_CODES, 1, 2, 3), 4, axis=0)
    codes = compiled(
        lambda: sample_levels([top, bottom], given=[given, None], seed=3),
        bottom,
    )()
    np.testing.assert_array_equal(array(codes[0]), given)
    bottoms = array(codes[1])
    assert len({bottom.tobytes() for bottom in bottoms}) == 4
    np.testing.assert_array_equal(
        bottoms, draw(bottom, coarser=[given], seed=3)
    )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"labels": [0], "method": "guess"}, "method"),
        ({"labels": [0], "temperature": 0.0}, "temperature"),
        ({}, "batch_size"),
        ({"batch_size": 2}, "labels"),
        ({"labels": [0], "coarser": [integers(3, 1, 2, 2)]}, "coarser"),
    ],
)
def test_bad_arguments_are_told(kwargs, message):
    with pytest.raises(ValueError, match=message):
        sample(make_prior(), **kwargs)

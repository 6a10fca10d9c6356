"""Sampling: exact, seeded, conditioned on labels and coarser codes."""

import functools
import itertools
import math

import keras
import numpy as np
import pytest

from tests.helpers import array
from tests.helpers import compiled
from tests.helpers import integers
from tests.helpers import make_prior
from vqvae2_tf.sampling import sample
from vqvae2_tf.sampling import sample_levels
from vqvae2_tf.sampling.noise import Noise

pytestmark = pytest.mark.any_backend

NUM_CODES = 5


@functools.cache
def make(sizes=((2, 3),), num_codes=NUM_CODES, num_classes=3):
    prior = make_prior(sizes, num_codes, num_classes=num_classes)
    # Logits far enough apart to matter beside the noise.
    kernel = prior.head.logits.kernel
    kernel.assign(4.0 * kernel)
    return prior


def two_levels():
    """Priors of two levels, of 4 and 5 codes."""
    return make(num_codes=4), make(((2, 3), (4, 6)), (4, NUM_CODES), 0)


def draw(prior, **kwargs):
    """Sampled codes, in one compiled call."""
    return array(compiled(lambda: sample(prior, **kwargs), prior)())


def test_codes_are_the_argmax_of_logits_and_noise_one_after_another():
    prior = make()
    labels = np.array([2, 0], "int32")
    codes = draw(prior, labels=labels, temperature=0.7, seed=9)
    gumbel = array(Noise(9, np.arange(2)).gumbel(np.arange(6), NUM_CODES))
    expected = np.zeros((2, 6), "int32")
    for position in range(6):
        logits = array(prior(expected.reshape(2, 2, 3), labels=labels))
        logits = logits.reshape(2, 6, NUM_CODES)[:, position]
        scores = logits / 0.7 + gumbel[:, position]
        expected[:, position] = scores.argmax(axis=-1)
    np.testing.assert_array_equal(codes.reshape(2, 6), expected)


def test_frequencies_are_the_priors_probabilities():
    count = 4000
    prior = make(((1, 2),), 3, 0)
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
    prior = make()
    labels = np.zeros(20, "int32")
    first = draw(prior, labels=labels, seed=1)
    np.testing.assert_array_equal(first, draw(prior, labels=labels, seed=1))
    assert (first != draw(prior, labels=labels, seed=2)).any()


def test_a_sample_does_not_depend_on_its_batch():
    prior = make()
    labels = np.array([0, 1, 2, 1], "int32")
    together = draw(prior, labels=labels, seed=4)
    alone = draw(prior, labels=labels[2:], seed=4, sample_ids=[2, 3])
    np.testing.assert_array_equal(together[2:], alone)


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_size": 3},
        {"sample_ids": np.arange(3)},
        {"known": np.zeros((6, 2, 3)), "known_mask": np.ones((2, 3))},
    ],
)
def test_batches_of_two_sizes_are_refused(arguments):
    with pytest.raises(ValueError, match=r"equally many samples.*\[2, \d\]"):
        sample(make(), labels=np.array([0, 1], "int32"), **arguments)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"temperature": np.float32(0)},
        {"temperature": 1e-45},
        {"temperature": math.nan},
        {"top_p": 0.0},
        {"top_p": np.float32(1.1)},
        {"top_k": -1},
        {"top_k": np.int32(-1)},
        {"top_k": 1.5},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}`: expected"):
        sample(make(), labels=[0], **options)


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 0.0), ("top_k", -1), ("top_p", 1.5)]
)
def test_tensors_out_of_range_are_refused(name, value):
    value = keras.ops.convert_to_tensor(value)
    with pytest.raises(ValueError, match=f"`{name}`: expected"):
        sample(make(), labels=[0], **{name: value})


@pytest.mark.parametrize("label", [-1, 3, 99])
def test_labels_out_of_range_are_refused(label):
    message = f"`labels`: expected .* at most 2. Received: {label}"
    labels = keras.ops.convert_to_tensor([0, label])
    with pytest.raises(ValueError, match=message):
        sample(make(), labels=labels)
    with pytest.raises(ValueError, match=message):
        sample_levels(two_levels(), labels=labels)


@pytest.mark.parametrize(
    "arguments",
    [
        {"labels": []},
        {"batch_size": 0},
        {"labels": [0], "sample_ids": []},
        {"labels": [0], "known": [np.zeros((0, 2, 3)), None]},
    ],
)
def test_an_empty_batch_is_refused(arguments):
    name = list(arguments)[-1]
    with pytest.raises(ValueError, match=f"`{name}`: expected a batch of at"):
        sample_levels(two_levels(), **arguments)


@pytest.mark.parametrize("code", [-1, 4])
def test_codes_out_of_range_are_refused(code):
    top, bottom = two_levels()
    message = f"expected .* at most 3. Received: {code}"
    codes = np.zeros((2, 2, 3), "int32")
    codes[1, 0, 1] = code
    with pytest.raises(ValueError, match=f"`coarser`: {message}"):
        sample(bottom, coarser=[codes])
    with pytest.raises(ValueError, match=f"`known`: {message}"):
        sample_levels([top, bottom], [0, 0], known=[codes, None])
    mask = np.ones((2, 3), bool)
    kept = {"known": codes, "known_mask": mask}
    with pytest.raises(ValueError, match=f"`known`: {message}"):
        sample(top, labels=[0, 0], **kept)
    # A code that is not kept may be any.
    mask[0, 1] = False
    drawn = array(sample(top, labels=[0, 0], **kept))
    np.testing.assert_array_equal(drawn[:, mask], codes[:, mask])


def test_options_of_their_defaults_change_nothing():
    prior, labels = make(), np.array([0, 1], "int32")
    np.testing.assert_array_equal(
        draw(
            prior,
            labels=labels,
            temperature=np.float64(1),
            top_k=np.int64(0),
            top_p=1,
        ),
        draw(prior, labels=labels),
    )


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"temperature": 0.5}, marks=pytest.mark.large),
        {"top_k": 2},
        pytest.param({"top_p": 0.5}, marks=pytest.mark.large),
    ],
)
def test_options_may_be_tensors(options):
    prior, labels = make(), np.zeros(8, "int32")
    ((name, value),) = options.items()
    draw_with = compiled(
        lambda value: sample(prior, labels=labels, **{name: value}), prior
    )
    # float64 or int64.
    codes = array(draw_with(np.array(value)))
    np.testing.assert_array_equal(codes, draw(prior, labels=labels, **options))
    assert (codes != draw(prior, labels=labels)).any()


def test_compiled_is_eager():
    prior = make()
    labels = np.array([0, 1], "int32")

    np.testing.assert_array_equal(
        draw(prior, labels=labels, seed=5),
        array(sample(prior, labels=labels, seed=5)),
    )


def test_low_temperature_gives_the_likeliest_codes():
    prior = make()
    labels = np.zeros(8, "int32")
    codes = draw(prior, labels=labels, temperature=1e-3)
    assert (codes == codes[:1]).all()


def test_levels_are_conditioned_on_the_coarser_ones():
    top, bottom = two_levels()
    labels = np.array([1, 2], "int32")
    options = [{}, {"temperature": 0.5, "top_k": 3}]
    both = compiled(
        lambda: sample_levels(
            [top, bottom], labels=labels, options=options, seed=3
        ),
        bottom,
    )
    codes = [array(level) for level in both()]
    np.testing.assert_array_equal(codes[0], draw(top, labels=labels, seed=3))
    np.testing.assert_array_equal(
        codes[1], draw(bottom, coarser=codes[:1], seed=3, **options[1])
    )


def test_many_bottoms_of_one_top():
    top, bottom = two_levels()
    known = np.repeat(integers(4, 1, 2, 3), 4, axis=0)
    codes = compiled(
        lambda: sample_levels([top, bottom], known=[known, None], seed=3),
        bottom,
    )()
    np.testing.assert_array_equal(array(codes[0]), known)
    bottoms = array(codes[1])
    assert len({bottom.tobytes() for bottom in bottoms}) > 1
    np.testing.assert_array_equal(
        bottoms, draw(bottom, coarser=[known], seed=3)
    )


def test_a_level_is_painted_into():
    top, bottom = two_levels()
    labels = np.array([1, 2], "int32")
    known = [integers(k, 2, *size) for k, size in ((4, (2, 3)), (5, (4, 6)))]
    mask = np.arange(24).reshape(4, 6) % 2 == 1
    codes = compiled(
        lambda: sample_levels(
            [top, bottom],
            labels=labels,
            known=known,
            known_mask=[None, mask],
            seed=3,
        ),
        bottom,
    )()
    np.testing.assert_array_equal(array(codes[0]), known[0])
    np.testing.assert_array_equal(
        array(codes[1]),
        draw(
            bottom,
            coarser=known[:1],
            known=known[1],
            known_mask=mask,
            seed=3,
        ),
    )
    np.testing.assert_array_equal(array(codes[1])[:, mask], known[1][:, mask])


@pytest.mark.parametrize("name", ["options", "known", "known_mask"])
def test_lists_need_one_entry_a_level(name):
    with pytest.raises(ValueError, match=f"`{name}` must have one entry"):
        sample_levels(two_levels(), batch_size=1, **{name: [None] * 3})


KNOWN = np.zeros((1, 2, 3), "int32")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"labels": [0], "method": "guess"}, "method"),
        ({}, "batch_size"),
        ({"batch_size": 2}, "labels"),
        ({"labels": [0], "coarser": [integers(3, 1, 2, 2)]}, "coarser"),
        ({"labels": [0], "known": KNOWN}, "known_mask"),
        ({"labels": [0], "known_mask": np.ones((2, 3), bool)}, "known"),
        (
            {"labels": [0], "known": KNOWN, "known_mask": np.ones((2, 2))},
            "`known_mask` must have the map's shape",
        ),
        (
            {"labels": [0], "known": KNOWN[:, 1:], "known_mask": KNOWN},
            "`known` must have the map's shape",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        sample(make(), **kwargs)

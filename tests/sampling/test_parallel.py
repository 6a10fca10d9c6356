"""Parallel decoding: against a loop in NumPy, and what it counts."""

import collections
import fractions
import math

import numpy as np
import pytest
from keras import ops

from tests.helpers import array
from tests.helpers import compiled
from tests.helpers import conditions
from tests.helpers import integers
from tests.helpers import make_maskgit
from tests.helpers import run
from tests.helpers import softmax
from vqvae2_tf.level import Level
from vqvae2_tf.priors.heads import CategoricalHead
from vqvae2_tf.sampling import parallel
from vqvae2_tf.sampling import sample
from vqvae2_tf.sampling.noise import Noise

pytestmark = pytest.mark.any_backend

K = 5
# None known, some, all but one, all.
KNOWN = np.zeros((4, 4, 6), bool)
KNOWN[1, 1:3, :4] = True
KNOWN[2] = True
KNOWN[2, 3, 0] = False
KNOWN[3] = True


@pytest.fixture(scope="module")
def prior():
    return make_maskgit(
        ((2, 3), (4, 6)),
        (4, K),
        num_classes=3,
        label_dropout=0.1,
        layers=1,
    )


@pytest.fixture(scope="module")
def inputs(prior):
    return conditions(prior, 4)


def halton(height, width):
    """Places of the positions, by exact fractions, one point at a time."""

    def mirrored(number, base):
        place, sum_ = fractions.Fraction(1), fractions.Fraction(0)
        while number:
            place /= base
            sum_ += place * (number % base)
            number //= base
        return sum_

    places, number = {}, 0
    while len(places) < height * width:
        number += 1
        row = math.floor(mirrored(number, 2) * height)
        column = math.floor(mirrored(number, 3) * width)
        places.setdefault(row * width + column, len(places))
    return np.array([places[p] for p in range(height * width)])


def expected_codes(logits_of, noise, known, mask, steps, order, temperature):
    """The loop in NumPy, one sample at a time; `logits_of` is the network."""
    count, batch = mask[0].size, len(mask)
    mask, known = mask.reshape(batch, -1), known.reshape(batch, -1)
    codes = np.where(mask, known, K)
    at_first = np.sum(codes == K, axis=1)
    places = halton(*mask_size)
    positions = np.arange(count, dtype="int32")
    for t in range(steps):
        logits = logits_of(codes, t).reshape(batch, count, K)
        numbers = array(noise.gumbel(positions, K, 2 * t))
        choice = array(noise.gumbel(positions, 1, 2 * t + 1))[..., 0]
        left = 1 - (t + 1) / steps
        drawn, codes = codes, codes.copy()
        for i in range(batch):
            unknown = np.flatnonzero(codes[i] == K)
            for p in unknown:
                codes[i, p] = np.argmax(logits[i, p] + numbers[i, p])
            drawn[i] = codes[i]
            share = math.sin(math.pi / 2 * left)  # = cos(pi / 2 (1 - left))
            again = math.floor(at_first[i] * share + 1e-6)
            again = max(1, min(again, len(unknown) - 1))
            if order == "halton":
                scores = [-places[p] for p in unknown]
            else:
                scores = [
                    np.log(softmax(logits[i, p])[codes[i, p]])
                    + temperature * left * choice[i, p]
                    for p in unknown
                ]
            codes[i, unknown[np.argsort(scores)[:again]]] = K
    return drawn.reshape(batch, *mask_size)


mask_size = (4, 6)


@pytest.mark.parametrize(
    ("order", "guidance"),
    [
        ("confidence", 1.0),
        pytest.param("halton", 2.5, marks=pytest.mark.large),
    ],
)
def test_codes_are_those_of_the_loop_in_numpy(prior, inputs, order, guidance):
    steps, known, mask = 5, integers(K, 4, 4, 6, seed=9), KNOWN
    options = {
        "decoding_steps": steps,
        "decoding_order": order,
        "choice_temperature": 2.0,
        "guidance": guidance,
        "guidance_schedule": "linear",
        "known": known,
        "known_mask": mask,
    }
    found = array(
        compiled(lambda: sample(prior, seed=3, **options, **inputs), prior)()
    )
    call = compiled(
        lambda codes, labels: prior(codes, labels, inputs["coarser"]), prior
    )

    def logits_of(codes, t):
        codes = codes.reshape(4, 4, 6).astype("int32")
        of_class, of_none = (
            array(call(codes, labels))
            for labels in (inputs["labels"], np.full(4, -1, "int32"))
        )
        scale = 1 + (guidance - 1) * t / (steps - 1)
        return of_none + scale * (of_class - of_none)

    noise = Noise(3, np.arange(4), 1)
    expected = expected_codes(logits_of, noise, known, mask, steps, order, 2.0)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found[mask], known[mask])


@pytest.mark.parametrize("steps", [1, 8])
def test_as_many_are_masked_again_as_the_formula_says(steps):
    """Each step draws how many are unknown then, as a code."""
    count = 24
    level = Level("top", 4, 6, count + 1)
    head = CategoricalHead(count + 1, 4)

    def logits_of(codes, progress):
        unknown = ops.cast(codes == count + 1, "int32")
        now = ops.sum(unknown, axis=(1, 2), keepdims=True)
        return 1e4 * ops.one_hot(now + 0 * codes, count + 1)

    def draw():
        noise = Noise(0, ops.arange(4, dtype="int32"))
        known = ops.full((4, 4, 6), 0, "int32")
        return parallel.draw(
            logits_of, head, level, noise, known, KNOWN, decoding_steps=steps
        )

    drawn = array(run(draw))
    for codes, mask in zip(drawn, KNOWN, strict=True):
        at_first = now = np.sum(~mask)
        left = []
        for t in range(1, steps + 1):
            left.append(now)
            formula = math.floor(
                at_first * math.cos(math.pi * t / (2 * steps)) + 1e-6
            )
            now = max(min(formula, now - 1), 1)
        if not at_first:
            continue
        # What a step drew last stays from it on.
        expected = {n: n - m for n, m in zip(left, left[1:], strict=False)}
        expected[left[-1]] = left[-1]
        found = collections.Counter(codes[~mask].tolist())
        assert found == {n: m for n, m in expected.items() if m}


def test_one_step_draws_from_the_marginals(prior, inputs):
    found = array(
        compiled(
            lambda: sample(prior, seed=7, decoding_steps=1, **inputs), prior
        )()
    )
    masked = np.full((4, 4, 6), K, "int32")
    logits = array(run(lambda: prior(masked, **inputs)))
    noise = Noise(7, np.arange(4), 1)
    numbers = array(noise.gumbel(np.arange(24, dtype="int32"), K))
    expected = np.argmax(logits + numbers.reshape(logits.shape), axis=-1)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.large
def test_a_sample_depends_on_its_number_alone(prior, inputs):
    ids = np.int32([3, 1])
    some = {
        "labels": inputs["labels"][ids],
        "coarser": [inputs["coarser"][0][ids]],
    }
    call = compiled(
        lambda ids, inputs: sample(prior, seed=3, sample_ids=ids, **inputs),
        prior,
    )
    whole = array(call(np.arange(4, dtype="int32"), inputs))
    np.testing.assert_array_equal(array(call(ids, some)), whole[ids])


@pytest.mark.large
def test_options_may_be_tensors(prior, inputs):
    options = {
        "decoding_steps": 3,
        "decoding_order": 1,
        "choice_temperature": 1.5,
        "guidance": 1.0,
        "temperature": 0.5,
        "top_k": 2,
    }
    call = compiled(
        lambda values: sample(prior, seed=3, **values, **inputs), prior
    )
    tensors = {name: np.array(value) for name, value in options.items()}
    plain = compiled(lambda: sample(prior, seed=3, **options, **inputs), prior)
    found = array(call(tensors))
    np.testing.assert_array_equal(found, array(plain()))


@pytest.mark.large
def test_no_guidance_is_the_class_and_zero_is_none(prior, inputs):
    def drawn(guidance, **changes):
        return array(
            compiled(
                lambda: prior.draw(
                    Noise(3, ops.arange(4, dtype="int32")),
                    **{**inputs, **changes},
                    guidance=guidance,
                    decoding_steps=3,
                ),
                prior,
            )()
        )

    none = {"labels": np.full(4, -1, "int32")}
    np.testing.assert_array_equal(drawn(0.0), drawn(1.0, **none))
    one = ops.convert_to_tensor(1.0)
    np.testing.assert_array_equal(drawn(one), drawn(1.0))
    assert (drawn(1.0) != drawn(1.0, **none)).any()


@pytest.mark.parametrize("size", [(1, 1), (4, 6), (16, 16)])
def test_the_halton_order_is_that_of_exact_fractions(size):
    ranks = parallel.halton_ranks(*size)
    np.testing.assert_array_equal(ranks, halton(*size))


def test_the_halton_order_spreads_over_the_map():
    ranks = parallel.halton_ranks(16, 16).reshape(4, 4, 4, 4)
    first = np.sum(ranks < 64, axis=(1, 3))
    # A quarter of each square of 4x4, within one.
    assert np.abs(first - 4).max() <= 1


def test_the_lowest_are_as_many_as_asked_for():
    values = np.float32([[3, 1, 2, 1], [0, 0, 0, 0], [5, 6, 7, np.inf]])
    found = array(
        run(lambda: parallel.lowest(values, np.int32([[2], [3], [1]])))
    )
    np.testing.assert_array_equal(
        found, [[0, 1, 0, 1], [1, 1, 1, 0], [1, 0, 0, 0]]
    )

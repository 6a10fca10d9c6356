"""The incremental sampler: the logits of the call, the codes of naive."""

import functools
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import BACKEND
from tests.helpers import array
from tests.helpers import compiled
from tests.helpers import compiled_gradients
from tests.helpers import conditions
from tests.helpers import integers
from tests.helpers import make_prior
from tests.helpers import run
from vqvae2_tf.priors import Transformer
from vqvae2_tf.sampling import naive
from vqvae2_tf.sampling import sample
from vqvae2_tf.sampling.noise import Noise

pytestmark = pytest.mark.any_backend

NUM_CODES = 7
PLAIN = {"attention_every": 0}
LABELS = {"num_classes": 3}
COARSER = {"sizes": ((1, 3), (2, 3), (4, 6)), "num_codes": (4, 9, NUM_CODES)}
VARIANTS = {
    "plain": PLAIN,
    "attention": {"layers": 3, "attention_every": 2},
    "output stack": {**PLAIN, "output_layers": 2},
    "labels": {**LABELS, "layers": 1},
    "coarser codes": {**COARSER, **PLAIN},
    # As of a residual quantizer.
    "coarser codes of the same size": {
        **LABELS,
        "sizes": ((4, 6), (4, 6), (4, 6)),
        "num_codes": (3, 8, NUM_CODES),
        "layers": 1,
    },
    "everything": {
        **COARSER,
        **LABELS,
        "output_layers": 1,
        "kernel_size": 5,
        "second_kernel_size": 3,
    },
    "transformer": {"network": Transformer},
    "transformer, coarser codes of the same size": {
        "network": Transformer,
        **LABELS,
        "sizes": ((4, 6), (4, 6), (4, 6)),
        "num_codes": (3, 8, NUM_CODES),
        "layers": 1,
    },
    "transformer, everything": {"network": Transformer, **COARSER, **LABELS},
}
# The last transformer has what the others have.
NAMES = [
    pytest.param(name, marks=[pytest.mark.large] * name.startswith("transf"))
    for name in list(VARIANTS)[:-1]
] + ["transformer, everything"]


@functools.cache
def variant(name):
    """A prior of `VARIANTS`, for tests that leave it as it is."""
    return make_prior(**{"num_codes": NUM_CODES, **VARIANTS[name]})


def incremental_logits(prior, codes, **inputs):
    """`[B, H, W, K]`, position by position, of codes that are known."""
    codes = ops.convert_to_tensor(codes)
    count, height, width = codes.shape

    def next_row(row, carry):
        def next_position(column, carry):
            state, logits = carry
            here, state = prior.step(state, row, column)
            here = ops.reshape(here, (count, 1, 1, -1))
            logits = ops.slice_update(logits, (0, row, column, 0), here)
            code = ops.slice(codes, (0, row, column), (count, 1, 1))[:, 0, 0]
            return prior.write(state, code, column), logits

        state, logits = carry
        carry = (prior.next_row(state, row), logits)
        return ops.fori_loop(0, width, next_position, carry)

    state = prior.initial_state(count, **inputs)
    logits = ops.zeros((count, height, width, prior.level.num_codes))
    return ops.fori_loop(0, height, next_row, (state, logits))[1]


def draw(prior, mode="graph", **kwargs):
    """Sampled codes, in one compiled call; "xla" also on TensorFlow."""

    def codes():
        return sample(prior, **kwargs)

    if mode == "xla" and BACKEND == "tensorflow":
        import tensorflow as tf

        return array(tf.function(codes, jit_compile=True)())
    return array(compiled(codes, prior)())


def draw_naively(prior, batch_size, seed, **kwargs):
    """What `draw` should draw, by one whole call of the prior a position."""
    drawn = Noise(seed, np.arange(batch_size), len(prior.coarser))
    return array(compiled(lambda: naive.draw(prior, drawn, **kwargs), prior)())


def both_logits(prior, codes, **inputs):
    """Logits of the call, and position by position."""
    return (
        array(run(lambda codes: prior(codes, **inputs), codes)),
        array(
            run(lambda codes: incremental_logits(prior, codes, **inputs), codes)
        ),
    )


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_the_call(name):
    prior = variant(name)
    codes = integers(NUM_CODES, 2, 4, 6)
    expected, actual = both_logits(prior, codes, **conditions(prior, 2))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def trained(prior, codes, labels=None, coarser=(), steps=30):
    """The prior after some steps of Adam on the codes."""
    prior = type(prior).from_config(prior.get_config())
    prior.build()
    variables = prior.trainable_variables
    optimizer = keras.optimizers.Adam(0.003)
    optimizer.build(variables)

    batch = {"codes": [*coarser, codes]}
    if labels is not None:
        batch["label"] = labels

    def loss():
        return prior.loss_and_statistics(batch)[0]

    before = float(array(run(loss)))
    gradients = compiled_gradients(loss, variables)
    for _ in range(steps):
        optimizer.apply(gradients(), variables)
    assert float(array(run(loss))) < 0.7 * before
    return prior


@pytest.mark.large
@pytest.mark.parametrize(
    "arguments",
    [
        {"output_layers": 1, "kernel_size": 5},
        VARIANTS["everything"],
        VARIANTS["transformer, everything"],
    ],
)
def test_trained_logits_are_those_of_the_call(arguments):
    # Every row counts on from where the one above began: to be learned by
    # the taps above and to the left.
    i, j = np.indices((4, 6))
    starts = np.arange(NUM_CODES)[:, None, None]
    codes = ((starts + i + 2 * j) % NUM_CODES).astype("int32")
    prior = make_prior(**{"num_codes": NUM_CODES, **arguments})
    inputs = conditions(prior, NUM_CODES)
    prior = trained(prior, codes, **inputs)
    expected, actual = both_logits(prior, codes, **inputs)
    assert np.std(expected) > 1
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_codes_are_those_of_the_naive_sampler(name):
    prior = variant(name)
    options = {**conditions(prior, 3), "batch_size": 3, "seed": 2}
    np.testing.assert_array_equal(
        draw(prior, **options), draw_naively(prior, **options)
    )


@pytest.mark.parametrize(
    "name",
    [
        "everything",
        pytest.param("transformer, everything", marks=pytest.mark.large),
    ],
)
def test_xla_gives_the_same_codes(name):
    prior = variant(name)
    options = {**conditions(prior, 3), "seed": 2}
    np.testing.assert_array_equal(
        draw(prior, "xla", **options), draw(prior, **options)
    )


@pytest.mark.parametrize(
    "name",
    [
        "everything",
        pytest.param("transformer, everything", marks=pytest.mark.large),
    ],
)
def test_bfloat16_logits_are_close_to_those_of_the_call(name):
    prior = make_prior(**VARIANTS[name], dtype="mixed_bfloat16")
    codes = integers(NUM_CODES, 2, 4, 6)
    expected, actual = both_logits(prior, codes, **conditions(prior, 2))
    assert np.abs(actual - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("draw_codes", [draw, draw_naively])
def test_a_sample_is_completed_from_its_own_prefix(draw_codes):
    prior = variant("attention")
    options = {"batch_size": 3, "seed": 4}
    codes = draw_codes(prior, **options)
    prefix = np.tile(np.arange(24).reshape(4, 6) < 9, (3, 1, 1))
    partial = np.where(prefix, codes, 0)
    completed = draw_codes(prior, known=partial, known_mask=prefix, **options)
    np.testing.assert_array_equal(completed, codes)


@pytest.mark.parametrize(
    "name",
    ["attention", pytest.param("transformer", marks=pytest.mark.large)],
)
def test_known_positions_hold_and_reach_what_follows(name):
    prior = variant(name)
    options = {"batch_size": 16, "seed": 4}
    codes = draw(prior, **options)
    mask = np.zeros((4, 6), bool)
    mask[2, 1:3] = True
    known = (codes + 1) % NUM_CODES
    painted = draw(prior, known=known, known_mask=mask, **options)
    np.testing.assert_array_equal(painted[:, mask], known[:, mask])
    before = np.arange(24).reshape(4, 6) < 13
    np.testing.assert_array_equal(painted[:, before], codes[:, before])
    assert (painted != codes)[:, 2, 3:].any()
    mask = np.tile(mask, (16, 1, 1))
    expected = draw_naively(prior, known=known, known_mask=mask, **options)
    np.testing.assert_array_equal(painted, expected)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("attention", {"top_k": 2}),
        ("attention", {"top_p": 0.4}),
        pytest.param("transformer", {"top_k": 2}, marks=pytest.mark.large),
    ],
)
def test_truncated_codes_are_naives_and_among_the_likeliest(name, options):
    prior = variant(name)
    options = {**options, "batch_size": 8, "seed": 0, "temperature": 3.0}
    codes = draw(prior, **options)
    np.testing.assert_array_equal(codes, draw_naively(prior, **options))
    logits = array(run(prior, codes)) / 3.0
    likelier = logits > np.take_along_axis(logits, codes[..., None], axis=-1)
    if "top_k" in options:
        assert likelier.sum(axis=-1).max() == 1
    else:
        shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        assert np.max((likelier * shares).sum(axis=-1)) < 0.4


GRID = list(itertools.product([0, 2], [False, True], [0, 3], [1, 5]))


@pytest.mark.large
@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize(("attention", "coarser", "classes", "second"), GRID)
def test_a_hundred_thousand_codes_are_naives(
    mode, attention, coarser, classes, second
):
    # 131,072 codes and more of 16 priors. Codes are naive's if each is the
    # argmax, after noise, of the forward pass over the codes themselves.
    if mode == "xla" and BACKEND == "jax":
        pytest.skip("JAX compiles with XLA anyway")
    flips = 0
    seen = set()
    number = GRID.index((attention, coarser, classes, second))
    # Over the grid each size meets each temperature.
    for i, (size, count) in enumerate(
        [(8, 1), (8, 7), (16, 1), (16, 7), (32, 1), (32, 7)]
    ):
        temperature = (0.5, 1.0)[(number + number // 2 + i) % 2]
        sizes = [(size // 2, size // 2)] if coarser else []
        prior = make_prior(
            [*sizes, (size, size)],
            NUM_CODES,
            attention_every=attention,
            num_classes=classes,
            kernel_size=5,
            second_kernel_size=second,
        )
        inputs = conditions(prior, count)
        codes = draw(
            prior,
            mode,
            **inputs,
            batch_size=count,
            temperature=temperature,
            seed=1,
        )
        logits = array(run(lambda x, p=prior, i=inputs: p(x, **i), codes))
        drawn = Noise(1, np.arange(count), int(coarser))
        numbers = prior.head.random_numbers(drawn, np.arange(size * size))
        scores = logits / temperature + array(numbers).reshape(logits.shape)
        chosen = np.take_along_axis(scores, codes[..., None], axis=-1)
        gaps = scores.max(axis=-1) - chosen[..., 0]
        # Within rounding it is a tie.
        assert gaps.max() < 1e-4
        flips += np.count_nonzero(gaps)
        seen.update(codes.flatten())
    assert flips <= 1
    assert len(seen) == NUM_CODES

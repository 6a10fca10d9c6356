"""The incremental sampler: the logits of the call, the codes of naive."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import BACKEND
from tests.helpers import array
from tests.helpers import build
from tests.helpers import compiled
from tests.helpers import integers
from tests.helpers import run
from tests.helpers import weight_gradients
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.sampling import noise
from vqvae2_tf.sampling import sample

pytestmark = pytest.mark.any_backend

NUM_CODES = 7
PLAIN = {"attention_every": 0}
LABELS = {"num_classes": 3}
COARSER = {"coarser_map_sizes": ((1, 3), (2, 3))}
VARIANTS = {
    "plain": PLAIN,
    "attention": {"num_layers": 3, "attention_every": 2},
    "output stack": {**PLAIN, "num_output_layers": 2},
    "labels": {**LABELS, "num_layers": 1},
    "coarser codes": {**COARSER, **PLAIN},
    "everything": {
        **COARSER,
        **LABELS,
        "num_output_layers": 1,
        "kernel_size": 5,
        "second_kernel_size": 3,
    },
}


def make(map_size=(4, 6), dtype=None, **arguments):
    """A prior with random weights, and what it is called with."""
    arguments = {
        "hidden_units": 8,
        "residual_units": 6,
        "num_layers": 2,
        "attention_every": 1,
        "num_heads": 2,
        "kernel_size": 3,
        "num_conditioning_blocks": 2,
        "conditioning_units": 8,
        **arguments,
    }
    prior = PixelSNAIL(map_size, NUM_CODES, **arguments, dtype=dtype)
    return build(prior, integers(NUM_CODES, 1, *map_size), **inputs(prior, 1))


def inputs(prior, count):
    given = {}
    if prior.num_classes:
        given["labels"] = integers(prior.num_classes, count)
    if prior.coarser_map_sizes:
        given["coarser"] = [
            integers(prior.num_codes, count, *size, seed=i)
            for i, size in enumerate(prior.coarser_map_sizes)
        ]
    return given


def incremental_logits(prior, codes, **given):
    """`[B, H, W, K]`, position by position, of given codes."""
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

    state = prior.initial_state(count, **given)
    logits = ops.zeros((count, height, width, prior.num_codes))
    return ops.fori_loop(0, height, next_row, (state, logits))[1]


def draw(prior, mode="graph", **kwargs):
    """Sampled codes, in one compiled call; "xla" also on TensorFlow."""

    def codes():
        return sample(prior, **kwargs)

    if mode == "xla" and BACKEND == "tensorflow":
        import tensorflow as tf

        return array(tf.function(codes, jit_compile=True)())
    return array(compiled(codes, prior)())


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_are_those_of_the_call(name):
    prior = make(**VARIANTS[name])
    given = inputs(prior, 2)
    codes = integers(NUM_CODES, 2, 4, 6)
    expected, actual = (
        array(run(lambda x, f=f: f(x, **given), codes))
        for f in (
            prior,
            lambda codes, **given: incremental_logits(
                prior, ops.convert_to_tensor(codes), **given
            ),
        )
    )
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def trained(prior, codes, labels=None, coarser=(), steps=30):
    """The prior after some steps of Adam on the codes."""
    prior = PixelSNAIL.from_config(prior.get_config())
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
    for _ in range(steps):
        optimizer.apply(weight_gradients(loss, variables), variables)
    assert float(array(run(loss))) < 0.7 * before
    return prior


@pytest.mark.parametrize(
    "arguments",
    [{"num_output_layers": 1, "kernel_size": 5}, VARIANTS["everything"]],
)
def test_trained_logits_are_those_of_the_call(arguments):
    # Every row counts on from where the one above began: to be learned by
    # the taps above and to the left.
    i, j = np.indices((4, 6))
    starts = np.arange(NUM_CODES)[:, None, None]
    codes = ((starts + i + 2 * j) % NUM_CODES).astype("int32")
    prior = make(**arguments)
    given = inputs(prior, NUM_CODES)
    prior = trained(prior, codes, **given)
    expected = array(run(lambda x: prior(x, **given), codes))
    actual = array(
        run(
            lambda x: incremental_logits(
                prior, ops.convert_to_tensor(x), **given
            ),
            codes,
        )
    )
    assert np.std(expected) > 1
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_codes_are_those_of_the_naive_sampler(name):
    prior = make(**VARIANTS[name])
    options = {**inputs(prior, 3), "batch_size": 3, "seed": 2}
    np.testing.assert_array_equal(
        draw(prior, method="incremental", **options),
        draw(prior, method="naive", **options),
    )


def test_xla_gives_the_same_codes():
    prior = make(**VARIANTS["everything"])
    options = {**inputs(prior, 3), "seed": 2}
    np.testing.assert_array_equal(
        draw(prior, "xla", **options), draw(prior, **options)
    )


def test_bfloat16_logits_are_close_to_those_of_the_call():
    prior = make(**VARIANTS["everything"], dtype="mixed_bfloat16")
    given = inputs(prior, 2)
    codes = integers(NUM_CODES, 2, 4, 6)
    expected = array(run(lambda x: prior(x, **given), codes))
    actual = array(
        run(
            lambda x: incremental_logits(
                prior, ops.convert_to_tensor(x), **given
            ),
            codes,
        )
    )
    assert np.abs(actual - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("method", ["naive", "incremental"])
def test_a_sample_is_completed_from_its_own_prefix(method):
    prior = make()
    options = {"batch_size": 3, "seed": 4, "method": method}
    codes = draw(prior, **options)
    prefix = np.arange(24).reshape(4, 6) < 9
    partial = np.where(prefix, codes, 0)
    completed = draw(prior, given=partial, keep=prefix, **options)
    np.testing.assert_array_equal(completed, codes)


def test_kept_positions_hold_and_reach_what_follows():
    prior = make()
    options = {"batch_size": 16, "seed": 4}
    codes = draw(prior, **options)
    keep = np.zeros((16, 4, 6), bool)
    keep[:, 2, 1:3] = True
    given = (codes + 1) % NUM_CODES
    painted = draw(prior, given=given, keep=keep, **options)
    np.testing.assert_array_equal(painted[keep], given[keep])
    before = np.arange(24).reshape(4, 6) < 13
    np.testing.assert_array_equal(painted[:, before], codes[:, before])
    assert (painted != codes)[:, 2, 3:].any()
    naive = draw(prior, method="naive", given=given, keep=keep, **options)
    np.testing.assert_array_equal(painted, naive)


@pytest.mark.parametrize("options", [{"top_k": 2}, {"top_p": 0.4}])
def test_truncated_codes_are_naives_and_among_the_likeliest(options):
    prior = make()
    options = {**options, "batch_size": 8, "temperature": 3.0}
    codes = draw(prior, **options)
    np.testing.assert_array_equal(codes, draw(prior, method="naive", **options))
    logits = array(run(prior, codes)) / 3.0
    likelier = logits > np.take_along_axis(logits, codes[..., None], axis=-1)
    if "top_k" in options:
        assert likelier.sum(axis=-1).max() == 1
    else:
        shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        assert np.max((likelier * shares).sum(axis=-1)) < 0.4


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 0},
        {"top_p": 0.0},
        {"given": np.zeros((2, 4, 6), "int32")},
        {"given": np.zeros((2, 4, 6), "int32"), "keep": np.ones((4, 5), bool)},
    ],
)
def test_bad_options_are_told(options):
    with pytest.raises(ValueError, match=list(options)[-1]):
        sample(make(), batch_size=2, **options)


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
        prior = make(
            (size, size),
            attention_every=attention,
            coarser_map_sizes=[(size // 2, size // 2)] if coarser else (),
            num_classes=classes,
            kernel_size=5,
            second_kernel_size=second,
        )
        given = inputs(prior, count)
        codes = draw(
            prior,
            mode,
            **given,
            batch_size=count,
            temperature=temperature,
            seed=1,
        )
        logits = array(run(lambda x, p=prior, g=given: p(x, **g), codes))
        bits = noise.random_bits(
            1,
            np.arange(count),
            np.arange(size * size),
            NUM_CODES,
            stream=int(coarser),
        )
        scores = logits / temperature
        scores = scores + array(noise.gumbel(bits)).reshape(scores.shape)
        chosen = np.take_along_axis(scores, codes[..., None], axis=-1)
        gaps = scores.max(axis=-1) - chosen[..., 0]
        # Within rounding it is a tie.
        assert gaps.max() < 1e-4
        flips += np.count_nonzero(gaps)
        seen.update(codes.flatten())
    assert flips <= 1
    assert len(seen) == NUM_CODES

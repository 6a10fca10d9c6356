"""Tests of `MaskGIT`."""

import inspect
import itertools
import math
from unittest import mock

import keras
import numpy as np
import pytest

from tests.helpers import BACKEND
from tests.helpers import SMALL_TRANSFORMER
from tests.helpers import array
from tests.helpers import assert_close
from tests.helpers import build
from tests.helpers import codes_of
from tests.helpers import compiled
from tests.helpers import conditions
from tests.helpers import integers
from tests.helpers import make_levels
from tests.helpers import make_maskgit
from tests.helpers import normal
from tests.helpers import run
from tests.helpers import softmax
from tests.helpers import weight_gradients
from tests.helpers import zero_initializers
from vqvae2_tf.priors import MaskGIT
from vqvae2_tf.priors import maskgit
from vqvae2_tf.runs.networks import without_weights
from vqvae2_tf.sampling import sample

pytestmark = pytest.mark.any_backend

THREE = {
    "sizes": ((2, 3), (2, 3), (4, 6)),
    "num_codes": (4, 7, 5),
    "num_classes": 3,
}
LOCAL = {"local_attention": True}


def logits_of(prior, codes, inputs):
    return array(run(lambda codes: prior(codes, **inputs), codes))


def changed(prior, codes, inputs, part=None):
    """Which logits `[P, H, W]` each code changes; of a coarser level `part`."""
    read = codes if part is None else inputs["coarser"][part]
    count = read[0].size
    codes, inputs, read = keras.tree.map_structure(
        lambda x: np.repeat(x, count + 1, axis=0), (codes, inputs, read)
    )
    flat = read.reshape(count + 1, count)
    for p in range(count):
        flat[p, p] = (flat[p, p] + 1) % 4
    if part is None:
        codes = read
    else:
        inputs["coarser"][part] = read
    logits = logits_of(prior, codes, inputs)
    return np.any(np.abs(logits[:-1] - logits[-1]) > 1e-5, axis=-1)


@pytest.mark.parametrize(
    "attention", [{}, pytest.param(LOCAL, marks=pytest.mark.large)]
)
def test_logits_depend_on_the_class_and_on_every_coarser_code(attention):
    prior = make_maskgit(**THREE, **attention)
    codes, inputs = codes_of(prior.level, 1), conditions(prior)
    for part in range(2):
        assert changed(prior, codes, inputs, part).mean() > (
            0.2 if attention else 0.9
        )
    of_each = [
        logits_of(prior, codes, {**inputs, "labels": np.int32([label])})
        for label in (-1, 0, 1, 2)
    ]
    for one, other in itertools.combinations(of_each, 2):
        assert np.all(np.any(one != other, axis=-1))


@pytest.mark.large
def test_a_position_sees_all_others_or_its_square():
    for attention, reach in (({}, 9), (LOCAL, 2)):
        prior = make_maskgit([(6, 7)], layers=1, **attention)
        seen = changed(prior, codes_of(prior.level, 1), {})
        for p, (i, j, k, m) in enumerate(np.ndindex(6, 7, 6, 7)):
            near = max(abs(i - k), abs(j - m)) <= reach
            assert seen.reshape(-1)[p] == near


@pytest.mark.skipif(BACKEND != "jax", reason="JAX has kernels for TPUs")
def test_no_later_token_is_hidden_on_tpus(monkeypatch):
    import jax
    from keras.src.backend.jax import nn

    def causal(queries, keys, values, *args, custom_mask=None, **kwargs):
        assert custom_mask is None
        return values

    monkeypatch.setattr(nn, "wrap_flash_attention", causal)
    tpus = [mock.Mock(platform="tpu")]
    monkeypatch.setattr(jax, "devices", lambda *args: tpus)
    q, k, v = (normal(2, 3, 5, 4, seed=i) for i in range(3))
    found = array(maskgit._attend_to_all(q, k, v))
    assert_close(found, softmax(q @ k.swapaxes(2, 3)) @ v, 1e-4, 1e-5)


def test_a_masked_code_is_not_seen():
    prior = make_maskgit(layers=1)
    masked = np.full((1, 4, 6), 5, "int32")
    some = masked.copy()
    some[0, 2, 3] = 0
    one, other = (logits_of(prior, codes, {}) for codes in (masked, some))
    assert np.all(np.any(one != other, axis=-1))
    logits = array(
        run(lambda codes: prior(codes), integers(5, 1, 4, 6) * 0 + 5)
    )
    np.testing.assert_array_equal(logits, one)


def cross_entropies(prior, codes, masked, inputs):
    """Nats of each code, `[B, H, W]`, where some are masked."""
    logits = logits_of(prior, np.where(masked, 5, codes), inputs)
    logits = logits.astype("float64")
    likely = np.take_along_axis(softmax(logits), codes[..., None], axis=-1)
    return -np.log(likely[..., 0]), -np.log(softmax(logits)).mean(axis=-1)


def test_the_loss_is_of_masked_codes_and_smoothed(monkeypatch):
    prior = make_maskgit(((2, 3), (4, 6)), dropout=0.0, layers=1)
    inputs = conditions(prior, 3)
    codes = codes_of(prior.level, 3)
    finer = integers(5, 3, 8, 12)
    masked = np.random.default_rng(0).random((3, 4, 6)) < 0.6
    monkeypatch.setattr(prior, "_training_mask", lambda codes: masked)
    monkeypatch.setattr(maskgit, "bound_mask", lambda codes: masked)
    batch = {
        "codes": [*inputs["coarser"], codes, finer],
        "label": np.zeros(3, "int32"),
        "weight": np.float32([1, 0, 1]),
    }

    def both(batch):
        return [
            prior.loss_and_statistics(batch, training=training)
            for training in (True, False)
        ]

    (loss, in_training), (plain, held_out) = run(both, batch)
    nll, uniform = cross_entropies(prior, codes, masked, inputs)
    each, smoothed = (
        np.array([x[i][masked[i]].mean() for i in range(3)])
        for x in (nll, 0.9 * nll + 0.1 * uniform)
    )
    assert float(loss) == pytest.approx(smoothed.mean(), rel=1e-5)
    assert float(plain) == pytest.approx(each.mean(), rel=1e-5)
    for statistics, name in (
        (in_training, "cross_entropy"),
        (held_out, "bound"),
    ):
        statistics = {k: array(v) for k, v in statistics.items()}
        metrics = prior.metrics_from_statistics(statistics)
        expected = {name: (each[0] + each[2]) / 2}
        assert metrics == pytest.approx(expected, rel=1e-5)
    assert prior.selection_metric in metrics
    assert not hasattr(prior, "nll")


def test_the_bound_is_of_all_orders(monkeypatch):
    """Of one code after another, the mean over all 24 orders."""
    prior = make_maskgit([(2, 2)], layers=1)
    codes = np.int32([[[0, 3], [1, 1]]])
    subsets = np.array(list(itertools.product([0, 1], repeat=4)), bool)
    subsets = subsets[1:]
    repeated = np.repeat(codes, 15, axis=0)
    masks = subsets.reshape(15, 2, 2)
    nll, _ = cross_entropies(prior, repeated, masks, {})
    nll = nll.reshape(15, 4)
    nll = {tuple(m): nll[i] for i, m in enumerate(subsets)}
    total = 0.0
    for order in itertools.permutations(range(4)):
        for t, position in enumerate(order):
            unknown = tuple(p in order[t:] for p in range(4))
            total += nll[unknown][position]
    monkeypatch.setattr(maskgit, "bound_mask", lambda codes: masks)
    counts = subsets.sum(axis=1)
    # Each number of masked codes is as likely, and each set of so many.
    weights = [1 / (4 * math.comb(4, n)) for n in counts]
    batch = {
        "codes": [repeated],
        "label": np.zeros(15, "int32"),
        "weight": np.float32(weights),
    }
    _, statistics = run(prior.loss_and_statistics, batch)
    assert float(statistics["images"]) == pytest.approx(1.0)
    assert float(statistics["bound"]) == pytest.approx(total / 24 / 4, rel=1e-5)


def test_masks_of_the_bound_are_uniform_and_the_codes_own():
    codes = integers(7, 4000, 3, 4)
    masks = array(run(maskgit.bound_mask, codes))
    counts = np.bincount(masks.sum(axis=(1, 2)), minlength=13)
    # Six standard deviations.
    expected = 4000 / 12
    assert counts[0] == 0
    assert np.abs(counts[1:] - expected).max() < 6 * expected**0.5
    shares = masks.mean(axis=0)
    assert np.abs(shares - 13 / 24).max() < 6 * 0.5 / 4000**0.5
    some = array(run(maskgit.bound_mask, codes[[5, 3999]]))
    np.testing.assert_array_equal(some, masks[[5, 3999]])
    # The same on both backends.
    expected = [[1, 0, 1, 0], [0, 0, 1, 0], [1, 1, 0, 1]]
    np.testing.assert_array_equal(masks[0], expected)


def test_training_masks_a_cosine_share_of_half_or_more():
    prior = make_maskgit([(6, 8)], layers=1)
    codes = integers(5, 2000, 6, 8)
    draw = compiled(prior._training_mask, prior)
    masks, others = array(draw(codes)), array(draw(codes))
    assert (masks != others).any(axis=(1, 2)).mean() > 0.9
    shares = masks.mean(axis=(1, 2))
    assert shares.min() >= 0.5
    assert shares.max() <= 1
    # Of cos(pi u / 2), u below 2/3; rounded up by half a code.
    mean = 3 / math.pi * math.sin(math.pi / 3) + 0.5 / 48
    assert abs(shares.mean() - mean) < 0.02
    median = math.cos(math.pi / 6)
    assert abs(np.mean(shares > median + 0.5 / 48) - 0.5) < 0.05
    assert np.abs(masks.mean(axis=0) - shares.mean()).max() < 0.06


@pytest.mark.large
def test_half_of_the_labels_are_dropped_in_training_only():
    prior = make_maskgit(num_classes=3, label_dropout=0.5)
    labels = integers(3, 400)
    batch = {"codes": [integers(5, 400, 4, 6)], "label": labels}
    _, found, _ = run(lambda: prior.inputs(batch))
    np.testing.assert_array_equal(array(found), labels)
    _, found, _ = run(lambda: prior.inputs(batch, training=True))
    dropped = array(found) == -1
    np.testing.assert_array_equal(array(found)[~dropped], labels[~dropped])
    assert abs(dropped.mean() - 0.5) < 6 * 0.5 / 20


@pytest.mark.large
@pytest.mark.parametrize("attention", [{}, LOCAL])
def test_mixed_bfloat16_is_close(attention):
    prior = make_maskgit(**THREE, **attention)
    low = make_maskgit(**THREE, **attention, dtype="mixed_bfloat16")
    codes, inputs = codes_of(prior.level, 2), conditions(prior, 2)
    exact, rough = (logits_of(one, codes, inputs) for one in (prior, low))
    assert rough.dtype == "float32"
    assert np.abs(rough - exact).max() < 0.1 * np.abs(exact).max()
    assert not np.array_equal(rough, exact)


@pytest.mark.large
@pytest.mark.parametrize("attention", [{}, LOCAL])
def test_rematerialized_gradients_are_the_same(attention):
    batch = {"codes": [integers(5, 2, 4, 6)], "label": integers(3, 2)}

    def gradients(rematerialize):
        prior = make_maskgit(
            num_classes=3,
            dropout=0.5,
            rematerialize=rematerialize,
            **attention,
        )
        for i, variable in enumerate(prior.non_trainable_variables):
            variable.assign(np.array([i, 0]))
        return weight_gradients(
            lambda: prior.loss_and_statistics(batch, training=True)[0],
            prior.trainable_variables,
        )

    # Other masks would differ by the size of the gradients; rounding, which the
    # blocks amplify, by up to a thousandth.
    assert_close(gradients(True), gradients(False), 2e-3, 2e-3)


@pytest.mark.large
def test_save_and_load(tmp_path):
    *coarser, level = make_levels(THREE["sizes"], THREE["num_codes"])
    arguments = {
        "level": level,
        "coarser": coarser,
        **SMALL_TRANSFORMER,
        "num_classes": 3,
        "dropout": 0.25,
        "label_dropout": 0.1,
        "local_attention": True,
        "rematerialize": True,
    }
    parameters = inspect.signature(MaskGIT).parameters
    assert set(parameters) - {"kwargs"} == set(arguments)
    for name, value in arguments.items():
        assert value != parameters[name].default
    prior = MaskGIT(**arguments)
    codes, inputs = codes_of(level, 2), conditions(prior, 2)
    build(prior, codes)
    prior.save(tmp_path / "prior.keras")
    with zero_initializers():
        loaded = keras.saving.load_model(tmp_path / "prior.keras")
    assert loaded.get_config() == prior.get_config()
    assert_close(
        logits_of(loaded, codes, inputs), logits_of(prior, codes, inputs)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 3}, "`heads` must divide `hidden_units`"),
        ({"dropout": 1.0}, "dropout"),
        ({"layers": 0}, "layers"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_maskgit(**arguments)


@pytest.mark.parametrize(
    ("shape", "inputs", "message"),
    [
        ((1, 4, 5), {}, "`codes` must have the map size"),
        ((1, 4, 6), {"labels": np.zeros(1, "int32")}, "`labels` are expected"),
        ((1, 4, 6), {"coarser": [np.zeros((1, 2, 3))]}, "`coarser` must hold"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(shape, inputs, message):
    with pytest.raises(ValueError, match=message):
        MaskGIT(make_levels([(4, 6)], 5)[0])(np.zeros(shape, "int32"), **inputs)


@pytest.mark.large
def test_a_new_prior_draws_twice():
    # The loop that draws may not be where the weights are made.
    prior = MaskGIT(make_levels([(2, 2)], 5)[0], **SMALL_TRANSFORMER)
    one, other = (array(sample(prior, batch_size=2)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_number_of_parameters():
    *coarser, level = make_levels(((4, 4), (8, 8)), (512, 256))
    prior = without_weights(lambda: built(MaskGIT(level, coarser, 10)))
    block = 4 * 256**2 + 3 * 256 * 688 + 2 * 256 + 2 * 32
    embedded = 512 + 256 + 10 + 1 + (16 + 64) + 2
    head = 257 * 256
    count = 8 * block + 256 * embedded + 256 + head
    assert prior.count_params() == count


def built(prior):
    prior.build()
    return prior

"""Tests of `Transformer`."""

import inspect
import itertools
import math

import keras
import numpy as np
import pytest

from tests.helpers import SMALL_TRANSFORMER
from tests.helpers import array
from tests.helpers import arrays
from tests.helpers import assert_close
from tests.helpers import build
from tests.helpers import compiled
from tests.helpers import conditions
from tests.helpers import gradient
from tests.helpers import integers
from tests.helpers import jacobian_pattern
from tests.helpers import make_levels
from tests.helpers import make_prior
from tests.helpers import normal
from tests.helpers import run
from tests.helpers import weight_gradients
from tests.helpers import zero_initializers
from vqvae2_tf.priors import Transformer
from vqvae2_tf.runs.networks import without_weights

pytestmark = pytest.mark.any_backend

TWO_COARSER = {"sizes": ((1, 3), (2, 3), (4, 6)), "num_codes": (4, 7, 5)}
EVERYTHING = {**TWO_COARSER, "num_classes": 3}


def make(**arguments):
    return make_prior(network=Transformer, **arguments)


@pytest.fixture(scope="module")
def everything():
    """For tests that leave it as it is."""
    return make(**EVERYTHING)


def tiled(inputs, count):
    return keras.tree.map_structure(lambda x: np.repeat(x, count, 0), inputs)


class TestCausality:
    def test_own_tokens_see_exactly_what_is_before_them(
        self, everything, monkeypatch
    ):
        inputs = tiled(conditions(everything), 24)
        codes = integers(5, 24, 4, 6)

        def from_embedded(x):
            with monkeypatch.context() as context:
                embedded = keras.ops.reshape(x, (24, 24, 8))
                context.setattr(everything.head, "embed", lambda _: embedded)
                return everything(codes, **inputs)

        pattern = jacobian_pattern(from_embedded, normal(4, 6, 8, seed=9))
        np.testing.assert_array_equal(pattern, np.tri(24, k=-1, dtype=bool))

    def test_every_position_sees_the_whole_prefix(
        self, everything, monkeypatch
    ):
        # The class, three and six codes, by the gradient at each position.
        inputs = tiled(conditions(everything), 24)
        codes = np.repeat(integers(5, 1, 4, 6), 24, axis=0)
        asked = np.eye(24, dtype="float32").reshape(24, 4, 6, 1)
        prefix = np.repeat(normal(1, 10, 8, seed=3), 24, axis=0)

        def total(x):
            with monkeypatch.context() as context:
                context.setattr(everything, "prefix", lambda *_: [x])
                y = everything(codes, **inputs)
            return keras.ops.sum(y * asked * normal(5, seed=1))

        found = gradient(total, prefix)
        assert found.shape == (24, 10, 8)
        assert np.all(np.any(found != 0, axis=-1))

    @pytest.mark.large
    def test_dropout_does_not_break_causality(self):
        prior = make(dropout=0.5)
        codes = integers(5, 1, 4, 6)
        changed = codes.copy()
        changed[:, 2:] = (changed[:, 2:] + 1) % 5
        start = arrays(prior.variables)
        call = compiled(lambda codes: prior(codes, training=True), prior)
        logits = []
        for read in (codes, changed):
            for variable, value in zip(prior.variables, start, strict=True):
                variable.assign(value)
            logits.append(array(call(read)))
        np.testing.assert_array_equal(logits[0][:, :2], logits[1][:, :2])
        assert np.any(logits[0][:, 2:] != logits[1][:, 2:])


class TestPrefix:
    def test_has_the_class_then_the_coarser_codes_in_raster_order(self):
        prior = make(**EVERYTHING)
        inputs = conditions(prior)
        rows, columns, levels, classes, *coarser = (
            array(layer.embeddings)
            for layer in (
                prior.row_embedding,
                prior.column_embedding,
                prior.level_embedding,
                prior.class_embedding,
                *prior.coarser_embeddings,
            )
        )
        expected = [classes[inputs["labels"][0]]]
        for i, codes in enumerate(inputs["coarser"]):
            height, width = codes.shape[1:]
            for row, column in np.ndindex(height, width):
                # Of the 4x6 map's positions that it lies over, the first.
                place = rows[row * 4 // height] + columns[column * 6 // width]
                code = coarser[i][codes[0, row, column]]
                expected.append(code + place + levels[i])
        found = run(lambda: keras.ops.concatenate(prior.prefix(**inputs), 1))
        assert_close(array(found)[0], np.stack(expected))

    @pytest.mark.large
    def test_layers_on_one_grid_are_told_apart(self):
        # As of a residual quantizer: the same place, another level.
        prior = make(sizes=((2, 3),) * 3, num_codes=(3, 4, 5))
        inputs = tiled(conditions(prior), 3)
        for i, codes in enumerate(inputs["coarser"]):
            codes[i + 1] = (codes[i + 1] + 1) % prior.coarser[i].num_codes
        codes = np.repeat(integers(5, 1, 2, 3), 3, axis=0)
        logits = array(run(lambda codes: prior(codes, **inputs), codes))
        for one, other in itertools.combinations(logits, 2):
            assert np.all(np.any(one != other, axis=-1))

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ({}, "labels"),
            ({"labels": np.zeros(1, "int32")}, "coarser"),
        ],
    )
    def test_missing_inputs_raise(self, everything, inputs, message):
        with pytest.raises(ValueError, match=message):
            everything(integers(5, 1, 4, 6), **inputs)

    def test_map_of_a_wrong_size_raises(self, everything):
        with pytest.raises(ValueError, match="size"):
            everything(integers(5, 1, 2, 2), **conditions(everything))


class TestLikelihood:
    def test_sums_to_one_over_all_maps(self):
        prior = make(
            sizes=((1, 1), (2, 2)), num_codes=(4, 3), num_classes=3, layers=1
        )
        maps = np.array(list(itertools.product(range(3), repeat=4)), "int32")
        codes = maps.reshape(81, 2, 2)
        inputs = tiled(conditions(prior), 81)
        logits = array(run(lambda codes: prior(codes, **inputs), codes))
        logits = logits.astype("float64")
        total = np.sum(np.exp(logits), axis=-1, keepdims=True)
        log_shares = logits - np.log(total)
        picked = np.take_along_axis(log_shares, codes[..., None], axis=-1)
        likelihoods = np.exp(picked.sum(axis=(1, 2, 3)))
        assert np.sum(likelihoods) == pytest.approx(1.0, abs=1e-5)
        # A prior that ignores the codes would sum to one as well.
        assert np.ptp(log_shares[:, 1, 1], axis=0).max() > 1e-3

    @pytest.mark.large
    def test_likelihoods_are_float32_under_bfloat16(self):
        prior = make(**EVERYTHING, dtype="mixed_bfloat16")
        inputs = conditions(prior, 2)
        codes = integers(5, 2, 4, 6)
        logits = run(lambda codes: prior(codes, **inputs), codes)
        assert keras.backend.standardize_dtype(logits.dtype) == "float32"
        assert all(v.dtype == "float32" for v in prior.trainable_variables)
        # Not multiples of what bfloat16 can tell apart.
        rounded = array(keras.ops.cast(logits, "bfloat16")).astype("float32")
        assert np.mean(rounded != array(logits)) > 0.5

    @pytest.mark.large
    def test_recomputed_gradients_are_the_same(self):
        def gradients(rematerialize):
            prior = make(**EVERYTHING, dropout=0.5, rematerialize=rematerialize)
            for i, variable in enumerate(prior.non_trainable_variables):
                variable.assign(np.array([i, 0]))
            inputs = conditions(prior, 2)
            batch = {
                "codes": [*inputs["coarser"], integers(5, 2, 4, 6)],
                "label": inputs["labels"],
            }
            return weight_gradients(
                lambda: prior.loss_and_statistics(batch, training=True)[0],
                prior.trainable_variables,
            )

        assert_close(gradients(True), gradients(False))


@pytest.mark.large
def test_save_and_load(tmp_path):
    *coarser, level = make_levels(**TWO_COARSER)
    arguments = {
        "level": level,
        "coarser": coarser,
        **SMALL_TRANSFORMER,
        "num_classes": 3,
        "dropout": 0.25,
        "label_dropout": 0.1,
        "rematerialize": True,
    }
    parameters = inspect.signature(Transformer).parameters
    assert set(parameters) - {"kwargs"} == set(arguments)
    for name, value in arguments.items():
        assert value != parameters[name].default
    prior = Transformer(**arguments)
    codes, inputs = integers(5, 2, 4, 6), conditions(prior, 2)
    build(prior, codes, **inputs)
    prior.save(tmp_path / "prior.keras")
    with zero_initializers():
        loaded = keras.saving.load_model(tmp_path / "prior.keras")
    assert loaded.get_config() == prior.get_config()
    assert loaded.blocks[1].dropout.rate == 0.25
    expected, actual = (
        run(lambda codes, one=one: one(codes, **inputs), codes)
        for one in (prior, loaded)
    )
    assert_close(actual, expected, rtol=1e-6, atol=1e-6)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="heads=3, hidden_units=8"):
        make(heads=3)


@pytest.mark.parametrize(
    ("sizes", "classes", "label_dropout"),
    [([(32, 32)], 0, 0.0), ([(4, 4), (8, 8)], 1000, 0.1)],
)
def test_number_of_parameters(sizes, classes, label_dropout):
    *coarser, level = make_levels(sizes, 512)

    def make_it():
        prior = Transformer(
            level, coarser, classes, label_dropout=label_dropout
        )
        prior.build()
        return prior

    prior = without_weights(make_it)
    found = sum(math.prod(v.shape) for v in prior.trainable_variables)
    width, inner, k = 256, 688, 512
    block = 4 * width**2 + 3 * width * inner + 2 * width + 2 * (width // 8)
    embeddings = len(sizes) * k + sum(sizes[-1]) + len(sizes)
    embeddings += classes + bool(label_dropout)
    head = width * k + k
    assert found == 8 * block + embeddings * width + width + head

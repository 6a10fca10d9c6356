"""Tests of `PixelSNAIL`."""

import functools
import inspect
import itertools
import math

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import SMALL_PRIOR
from tests.helpers import array
from tests.helpers import arrays
from tests.helpers import assert_close
from tests.helpers import build
from tests.helpers import causal_pattern
from tests.helpers import compiled
from tests.helpers import conditions
from tests.helpers import integers
from tests.helpers import jacobian_pattern
from tests.helpers import make_levels
from tests.helpers import make_prior
from tests.helpers import normal
from tests.helpers import run
from tests.helpers import weight_gradients
from tests.helpers import zero_initializers
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.runs.networks import without_weights

pytestmark = pytest.mark.any_backend

PLAIN = {"attention_every": 0}
LABELS = {"num_classes": 3}
ONE_COARSER = {"sizes": ((2, 3), (4, 6))}
TWO_COARSER = {"sizes": ((1, 3), (2, 3), (4, 6))}
VARIANTS = {
    "plain": PLAIN,
    "attention": {},
    "unfinished block": {"layers": 3, "attention_every": 2},
    "wide kernels": {**PLAIN, "kernel_size": 5, "second_kernel_size": 3},
    "output stack": {**PLAIN, "output_layers": 2},
    "labels": {**LABELS, "layers": 1},
    "one coarser": {**ONE_COARSER, **PLAIN},
    "coarser of the same size": {
        **PLAIN,
        "sizes": ((4, 6), (4, 6)),
        "num_codes": (3, 5),
    },
    "everything": {
        **TWO_COARSER,
        **LABELS,
        "num_codes": (4, 7, 5),
        "output_layers": 1,
        "second_kernel_size": 3,
    },
}


@functools.cache
def variant(name):
    """A prior of `VARIANTS`, for tests that leave it as it is."""
    return make_prior(**VARIANTS[name])


def tiled(inputs, count):
    return keras.tree.map_structure(lambda x: np.repeat(x, count, 0), inputs)


def logits_of(prior, codes, **inputs):
    return array(run(lambda codes: prior(codes, **inputs), codes))


def expected_pattern(prior):
    """What the logits see of the codes, layer by layer."""
    config = prior.get_config()
    size = prior.level.size
    seen = causal_pattern(*size, config["kernel_size"], strict=True)
    gated = causal_pattern(
        *size, config.get("second_kernel_size", 1)
    ) @ causal_pattern(*size, config["kernel_size"])
    every = config["attention_every"]
    for i in range(config["layers"]):
        seen = gated @ seen
        if every and (i + 1) % every == 0:
            seen = np.tri(len(seen), dtype=bool) @ seen
    return seen


class TestCausality:
    @pytest.mark.parametrize(
        ("name", "size"),
        [*[(name, None) for name in VARIANTS], ("unfinished block", (6, 3))],
    )
    def test_logits_see_exactly_the_receptive_field(
        self, name, size, monkeypatch
    ):
        prior = make_prior([size], **VARIANTS[name]) if size else variant(name)
        size = prior.level.size
        positions = prior.level.num_positions
        inputs = tiled(conditions(prior), positions)
        codes = integers(5, positions, *size)

        def from_embedded(x):
            with monkeypatch.context() as context:
                context.setattr(prior.head, "embed", lambda codes: x)
                return prior(codes, **inputs)

        pattern = jacobian_pattern(from_embedded, normal(*size, 8, seed=9))
        expected = expected_pattern(prior)
        assert not np.any(np.triu(expected))
        np.testing.assert_array_equal(pattern, expected)

    def test_receptive_field_can_be_everything_earlier(self):
        # Otherwise the test above would compare with too small a field.
        prior = make_prior([(3, 2)], layers=3)
        np.testing.assert_array_equal(
            expected_pattern(prior), np.tri(6, k=-1, dtype=bool)
        )

    @pytest.mark.parametrize("name", ["plain", "attention", "everything"])
    def test_changing_a_code_changes_only_later_logits(self, name):
        prior = variant(name)
        inputs = tiled(conditions(prior), 25)
        codes = np.repeat(integers(5, 1, 4, 6), 25, axis=0)
        flat = codes.reshape(25, 24)
        for p in range(24):
            flat[p, p] = (flat[p, p] + 1) % 5
        logits = logits_of(prior, codes, **inputs).reshape(25, 24, 5)
        for p in range(24):
            # Rows of a batch may be rounded differently.
            np.testing.assert_allclose(
                logits[p, : p + 1], logits[24, : p + 1], rtol=0, atol=1e-5
            )
            if p < 23:
                assert np.abs(logits[p, p + 1] - logits[24, p + 1]).max() > (
                    1e-4 if (p + 1) % 6 else -1
                )

    def test_dropout_does_not_break_causality(self):
        prior = make_prior(dropout=0.5)
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


class TestConditioning:
    @pytest.mark.parametrize("level", [0, 1])
    def test_logits_depend_on_every_coarser_code(self, level):
        prior = variant("everything")
        other = prior.coarser[level]
        count = other.num_positions
        inputs = tiled(conditions(prior), count + 1)
        flat = inputs["coarser"][level].reshape(count + 1, count)
        for p in range(count):
            flat[p, p] = (flat[p, p] + 1) % other.num_codes
        codes = np.repeat(integers(5, 1, 4, 6), count + 1, axis=0)
        logits = logits_of(prior, codes, **inputs)
        changed = np.any(np.abs(logits[:-1] - logits[-1]) > 1e-5, axis=-1)
        assert np.all(np.mean(changed, axis=(1, 2)) > 0.5)

    def test_a_layer_on_the_same_grid_is_told_all_coarser_ones(self):
        # As of a residual quantizer: three layers, and the class.
        prior = make_prior(((2, 3),) * 3, (3, 4, 5), **LABELS, layers=1)
        inputs = tiled(conditions(prior), 4)
        for i, codes in enumerate(inputs["coarser"]):
            codes[i + 1] = (codes[i + 1] + 1) % prior.coarser[i].num_codes
        inputs["labels"][3] = (inputs["labels"][3] + 1) % 3
        codes = np.repeat(integers(5, 1, 2, 3), 4, axis=0)
        logits = logits_of(prior, codes, **inputs)
        changed = np.any(np.abs(logits[1:] - logits[0]) > 1e-5, axis=-1)
        assert np.all(np.mean(changed, axis=(1, 2)) > 0.5)

    def test_coarser_codes_reach_the_positions_they_lie_over(self):
        # No blocks: the stack is pointwise but for its two resolutions.
        prior = make_prior([(2, 3), (4, 6), (8, 12)], **PLAIN)
        stack = prior.conditioning_stack
        for layer in (stack.half_up, stack.up):
            layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
        for block in stack.down_blocks + stack.up_blocks:
            conv = block.third_conv
            conv.set_weights([np.zeros_like(w) for w in conv.get_weights()])
        coarse, fine = conditions(prior)["coarser"]
        condition = compiled(
            lambda coarser: prior.conditioning(coarser=coarser)["conditioning"],
            prior,
        )

        def reached(coarse, fine):
            return array(condition([coarse, fine]))[0]

        def moved(level, i, j):
            """Which positions of the map a coarser code changes."""
            codes = [coarse.copy(), fine.copy()]
            codes[level][0, i, j] = (codes[level][0, i, j] + 1) % 5
            before = reached(coarse, fine)
            return np.any(reached(*codes) != before, axis=-1)

        def lies_under(rows, columns):
            positions = np.zeros((8, 12), bool)
            positions[rows, columns] = True
            return positions

        # The upsampler spreads each by one position.
        for changed, inner, outer in [
            (
                moved(0, 0, 1),
                lies_under(slice(0, 4), slice(4, 8)),
                lies_under(slice(0, 5), slice(3, 9)),
            ),
            (
                moved(1, 2, 4),
                lies_under(slice(4, 6), slice(8, 10)),
                lies_under(slice(3, 7), slice(7, 11)),
            ),
        ]:
            assert np.all(changed[inner])
            assert not np.any(changed[~outer])

    @pytest.mark.parametrize("coarser_first", [(1, 2), (3, 5)])
    def test_odd_coarser_maps(self, coarser_first):
        height, width = coarser_first
        prior = make_prior([(height, width), (2 * height, 2 * width)])
        codes = integers(5, 1, 2 * height, 2 * width)
        logits = logits_of(prior, codes, **conditions(prior))
        assert logits.shape == (1, 2 * height, 2 * width, 5)

    def test_reaches_every_gated_layer(self):
        prior = variant("everything")
        layers = [layer for block in prior.blocks for layer in block]
        layers += [*prior.merges, *prior.output_layers]
        assert len(layers) == 2 + 2 + 1
        projections = [
            projection
            for layer in layers
            for projection in (
                layer.class_projection,
                layer.conditioning_projection,
            )
        ]
        for projection in projections:
            assert projection.bias is None
        codes, inputs = integers(5, 1, 4, 6), conditions(prior)
        gradients = weight_gradients(
            lambda: ops.sum(prior(codes, **inputs) ** 2),
            [projection.kernel for projection in projections],
        )
        for values in gradients:
            assert np.mean(values != 0) > 0.9

    def test_logits_depend_on_the_label_at_every_position(self):
        prior = make_prior(**LABELS)
        codes = np.repeat(integers(5, 1, 4, 6), 3, axis=0)
        logits = logits_of(prior, codes, labels=np.arange(3, dtype="int32"))
        for one, other in itertools.combinations(logits, 2):
            assert np.all(np.any(one != other, axis=-1))

    def test_without_a_label_the_embedding_is_zero(self):
        prior = make_prior(num_classes=3, layers=1)
        codes = integers(5, 2, 4, 6)
        without = array(prior(codes, labels=np.int32([-1, 2])))
        first = array(prior(codes, labels=np.int32([0, 2])))
        assert np.abs(first - without)[0].max() > 1e-3
        table = prior.class_embedding.embeddings
        table.assign(array(table) * np.float32([[0], [1], [1]]))
        assert_close(without, prior(codes, labels=np.int32([0, 2])))

    def test_coordinates(self):
        prior = make_prior()
        grid = array(prior._coordinates())
        assert grid.shape == (4, 6, 2)
        for i, j in np.ndindex(4, 6):
            assert grid[i, j] == pytest.approx(
                [(i - 2) / 4, (j - 3) / 6], abs=1e-6
            )

    def test_attention_reads_the_coordinates(self, monkeypatch):
        prior = make_prior(layers=1)
        codes = integers(5, 1, 4, 6)
        before = logits_of(prior, codes)
        monkeypatch.setattr(prior, "_coordinates", lambda: ops.zeros((4, 6, 2)))
        assert np.any(logits_of(prior, codes) != before)


class TestLikelihood:
    @pytest.mark.parametrize(
        "arguments",
        [
            PLAIN,
            {"layers": 1},
            {**LABELS, "output_layers": 1, "second_kernel_size": 3},
            {
                **LABELS,
                "sizes": ((1, 1), (2, 2)),
                "num_codes": (4, 3),
                "layers": 1,
            },
        ],
    )
    def test_sums_to_one_over_all_maps(self, arguments):
        prior = make_prior(**{"sizes": [(2, 2)], "num_codes": 3, **arguments})
        maps = np.array(list(itertools.product(range(3), repeat=4)), "int32")
        codes = maps.reshape(81, 2, 2)
        inputs = tiled(conditions(prior), 81)
        logits = logits_of(prior, codes, **inputs).astype("float64")
        total = np.sum(np.exp(logits), axis=-1, keepdims=True)
        log_shares = logits - np.log(total)
        picked = np.take_along_axis(log_shares, codes[..., None], axis=-1)
        likelihoods = np.exp(picked.sum(axis=(1, 2, 3)))
        assert np.sum(likelihoods) == pytest.approx(1.0, abs=1e-5)
        # A prior that ignores the codes would sum to one as well.
        assert np.ptp(log_shares[:, 1, 1], axis=0).max() > 1e-3

    def batch(self, prior, count, seed=0):
        inputs = conditions(prior, count, seed)
        codes = integers(5, count, 4, 6, seed=seed + 50)
        finer = integers(5, count, 8, 12)
        return {
            "codes": [*inputs.get("coarser", []), codes, finer],
            "label": inputs.get("labels", np.zeros(count, "int32")),
        }

    def expected_nll(self, prior, batch):
        """Nats a code of each example."""
        level = len(prior.coarser)
        inputs = {"coarser": batch["codes"][:level]}
        if prior.num_classes:
            inputs["labels"] = batch["label"]
        codes = batch["codes"][level]
        logits = logits_of(prior, codes, **inputs).astype("float64")
        picked = np.take_along_axis(logits, codes[..., None], -1)[..., 0]
        return np.mean(
            np.log(np.sum(np.exp(logits), axis=-1)) - picked, axis=(1, 2)
        )

    @pytest.mark.parametrize("name", ["plain", "everything"])
    def test_metrics_equal_an_explicit_log_softmax(self, name):
        prior = variant(name)
        sums = {"images": 0.0, "nll": 0.0}
        expected = []
        call = compiled(prior.loss_and_statistics, prior)
        for seed in (2, 3):
            batch = self.batch(prior, 2, seed=seed)
            loss, statistics = call(batch)
            nll = self.expected_nll(prior, batch)
            assert float(loss) == pytest.approx(np.mean(nll), rel=1e-5)
            expected.extend(nll)
            sums = {k: sums[k] + array(statistics[k]) for k in sums}
        metrics = prior.metrics_from_statistics(sums)
        nll = np.mean(expected)
        assert metrics == pytest.approx(
            {"nll": nll, "bits_per_image": 24 * nll / math.log(2)}, rel=1e-5
        )

    def test_weight_zero_takes_an_example_out_of_the_statistics(self):
        prior = variant("everything")
        batch = self.batch(prior, 3)
        batch["weight"] = np.array([1, 0, 1], "float32")
        _, statistics = run(prior.loss_and_statistics, batch)
        nll = self.expected_nll(prior, batch)
        assert float(statistics["images"]) == 2
        assert float(statistics["nll"]) == pytest.approx(
            nll[0] + nll[2], rel=1e-5
        )

    def test_training_is_passed_on(self):
        prior = make_prior(**ONE_COARSER, dropout=0.5)
        batch = self.batch(prior, 2)
        before = arrays(prior.variables)
        call = compiled(
            lambda batch: prior.loss_and_statistics(batch, training=True),
            prior,
        )
        first, second = (float(call(batch)[0]) for _ in range(2))
        assert first != second
        after = arrays(prior.variables)
        moved = {
            v.name
            for v, old, new in zip(prior.variables, before, after, strict=True)
            if not np.array_equal(old, new)
        }
        assert {"moving_mean", "moving_variance"} <= moved

    def test_loss_has_a_gradient_for_coarser_embeddings(self):
        prior = variant("everything")
        batch = self.batch(prior, 1)
        gradients = weight_gradients(
            lambda: prior.loss_and_statistics(batch)[0],
            [e.embeddings for e in prior.coarser_embeddings],
        )
        for values in gradients:
            assert np.any(values != 0)


class TestModes:
    def test_compiled_equals_eager(self):
        prior = variant("labels")
        codes, inputs = integers(5, 1, 4, 6), conditions(prior)
        expected = prior(codes, **inputs)
        actual = compiled(lambda codes: prior(codes, **inputs), prior)(codes)
        assert_close(actual, expected)

    def test_mixed_bfloat16_is_close(self):
        prior = variant("everything")
        low = make_prior(**VARIANTS["everything"], dtype="mixed_bfloat16")
        codes, inputs = integers(5, 2, 4, 6), conditions(prior, 2)
        exact, rough = (
            run(lambda codes, one=one: one(codes, **inputs), codes)
            for one in (prior, low)
        )
        assert rough.dtype == "float32"
        exact, rough = array(exact), array(rough)
        assert np.abs(rough - exact).max() < 0.1 * np.abs(exact).max()
        assert not np.array_equal(rough, exact)

    def test_rematerialized_gradients_are_the_same(self):
        batch = {
            "codes": [integers(5, 2, 4, 6)],
            "label": integers(3, 2),
        }

        def gradients(rematerialize):
            prior = make_prior(
                **LABELS,
                layers=1,
                output_layers=1,
                dropout=0.5,
                rematerialize=rematerialize,
            )
            for i, variable in enumerate(prior.non_trainable_variables):
                variable.assign(np.array([i, 0]))
            return weight_gradients(
                lambda: prior.loss_and_statistics(batch, training=True)[0],
                prior.trainable_variables,
            )

        assert_close(gradients(True), gradients(False))

    def test_save_and_load(self, tmp_path):
        *coarser, level = make_levels(TWO_COARSER["sizes"], (4, 7, 5))
        arguments = {
            "level": level,
            "coarser": coarser,
            **SMALL_PRIOR,
            **LABELS,
            "output_layers": 1,
            "second_kernel_size": 3,
            "dropout": 0.25,
            "label_dropout": 0.1,
            "rematerialize": True,
        }
        parameters = inspect.signature(PixelSNAIL).parameters
        assert set(parameters) - {"kwargs"} == set(arguments)
        for name, value in arguments.items():
            assert value != parameters[name].default
        prior = PixelSNAIL(**arguments)
        codes, inputs = integers(5, 2, 4, 6), conditions(prior, 2)
        build(prior, codes, **inputs)
        prior.save(tmp_path / "prior.keras")
        with zero_initializers():
            loaded = keras.saving.load_model(tmp_path / "prior.keras")
        assert loaded.get_config() == prior.get_config()
        assert loaded.level == level
        assert list(loaded.coarser) == coarser
        assert loaded.merges[0].dropout.rate == 0.25
        expected, actual = (
            run(lambda codes, one=one: one(codes, **inputs), codes)
            for one in (prior, loaded)
        )
        assert_close(actual, expected, rtol=1e-6, atol=1e-6)


class TestArguments:
    @pytest.mark.parametrize(
        ("name", "inputs", "message"),
        [
            ("labels", {}, "labels"),
            ("plain", {"labels": np.zeros(1, "int32")}, "labels"),
            ("one coarser", {}, "coarser"),
            ("plain", {"coarser": [np.zeros((1, 2, 3), "int32")]}, "coarser"),
            (
                "everything",
                {
                    "labels": np.zeros(1, "int32"),
                    "coarser": [np.zeros((1, 2, 3), "int32")],
                },
                "coarser",
            ),
        ],
    )
    def test_missing_or_unexpected_inputs_raise(self, name, inputs, message):
        with pytest.raises(ValueError, match=message):
            variant(name)(integers(5, 1, 4, 6), **inputs)

    @pytest.mark.parametrize("coarser", [(3, 3), (2, 2), (8, 12)])
    def test_map_must_be_a_multiple_of_the_one_above(self, coarser):
        with pytest.raises(ValueError, match="whole multiple"):
            make_prior([coarser, (4, 6)])

    def test_factor_of_two_maps_is_a_power_of_two(self):
        with pytest.raises(ValueError, match="powers of two"):
            make_prior([(2, 3), (6, 9)])

    @pytest.mark.parametrize(
        "arguments",
        [
            {"attention_every": -1},
            {"layers": 0, "attention_every": 0},
            {"attention_every": 3},
            {"dropout": 1.0},
            {"kernel_size": 4},
            {"kernel_size": 1},
            {"heads": 3},
        ],
    )
    def test_argument_out_of_range_raises(self, arguments):
        *_, name = sorted(arguments)
        with pytest.raises(ValueError, match=name):
            make_prior(**arguments)

    @pytest.mark.parametrize("sizes", [((3, 3), (2, 3)), ((1, 2), (2, 3))])
    def test_coarser_maps_that_do_not_fit_raise(self, sizes):
        with pytest.raises(ValueError, match="`coarser` must"):
            make_prior([*sizes, (4, 6)])

    @pytest.mark.parametrize("wrong", ["codes", "coarser"])
    def test_map_of_a_wrong_size_raises(self, wrong):
        prior = variant("one coarser")
        sizes = {"codes": (4, 6), "coarser": (2, 3), wrong: (1, 1)}
        coarser = [integers(5, 1, *sizes["coarser"])]
        with pytest.raises(ValueError, match="size"):
            prior(integers(5, 1, *sizes["codes"]), coarser=coarser)


class TestSize:
    """Parameters of the published priors, counted by hand from the tables."""

    def conv(self, size, inputs, outputs, stored=None):
        return (stored or size * size) * inputs * outputs + outputs

    def gated(self, hidden, residual, taps, second_taps, extras, auxiliary=0):
        """`extras`: widths projected to the gate, without bias."""
        return (
            taps * hidden * residual
            + residual
            + second_taps * residual * 2 * hidden
            + 2 * hidden
            + sum(extras) * 2 * hidden
            + auxiliary * residual
        )

    def conditioning(self, inputs, units, blocks, factor, hidden):
        def block(width):
            inner = width // 4
            norm = 2 * width
            return (
                norm
                + self.conv(1, width, inner)
                + self.conv(3, inner, inner)
                + self.conv(1, inner, width)
            )

        half = blocks // 2
        total = self.conv(1, inputs, units)
        total += 2 * half * block(units)
        total += self.conv(1, units, 2 * units)
        total += (2 * half + blocks) * block(2 * units)
        total += self.conv(1, 2 * units, 2 * units)
        total += self.conv(2, 2 * units, 2 * units)
        total += self.conv(2, 2 * units, units)
        assert factor == 2
        return total + self.conv(4, units, hidden)

    def expected(
        self,
        hidden,
        residual,
        layers,
        attentions,
        second_taps,
        output_layers,
        classes,
        num_coarser,
        blocks,
        k=512,
    ):
        extras = [hidden] * (bool(classes) + bool(num_coarser))
        total = k * hidden + classes * hidden
        total += 12 * hidden * hidden + hidden
        total += layers * self.gated(hidden, residual, 13, second_taps, extras)
        queries, memory = hidden + 2, 2 * hidden + 2
        total += attentions * (
            self.conv(1, queries, hidden)
            + 2 * self.conv(1, memory, hidden)
            + self.gated(hidden, residual, 1, 1, extras, auxiliary=hidden)
        )
        total += output_layers * self.gated(hidden, residual, 1, 1, extras)
        total += self.conv(1, hidden, k)
        if num_coarser:
            total += num_coarser * k * hidden
            total += self.conditioning(
                num_coarser * hidden, 1024, blocks, 2, hidden
            )
        return total

    @pytest.mark.parametrize(
        ("arguments", "counted"),
        [
            pytest.param(
                {
                    "sizes": [(32, 32)],
                    "residual_units": 2048,
                    "output_layers": 20,
                    "num_classes": 1000,
                },
                (512, 2048, 20, 4, 1, 20, 1000, 0, 0),
                id="ImageNet top",
            ),
            pytest.param(
                {
                    "sizes": [(32, 32)],
                    "residual_units": 2048,
                    "output_layers": 20,
                    "num_classes": 1000,
                    "second_kernel_size": 5,
                },
                (512, 2048, 20, 4, 13, 20, 1000, 0, 0),
                id="ImageNet top, second kernel 5",
            ),
            pytest.param(
                {
                    "sizes": [(32, 32), (64, 64)],
                    "residual_units": 1024,
                    "attention_every": 0,
                    "num_classes": 1000,
                },
                (512, 1024, 20, 0, 1, 0, 1000, 1, 20),
                id="ImageNet bottom",
            ),
            pytest.param(
                {
                    "sizes": [(32, 32), (64, 64)],
                    "residual_units": 1024,
                    "attention_every": 20,
                    "conditioning_blocks": 8,
                },
                (512, 1024, 20, 1, 1, 0, 0, 1, 8),
                id="FFHQ middle",
            ),
            pytest.param(
                {
                    "sizes": [(32, 32), (64, 64), (128, 128)],
                    "residual_units": 1024,
                    "layers": 10,
                    "attention_every": 0,
                    "conditioning_blocks": 8,
                },
                (512, 1024, 10, 0, 1, 0, 0, 2, 8),
                id="FFHQ bottom",
            ),
        ],
    )
    def test_number_of_parameters(self, arguments, counted):
        arguments = dict(arguments)
        *coarser, level = make_levels(arguments.pop("sizes"), 512)

        def make():
            prior = PixelSNAIL(level, coarser, **arguments)
            prior.build()
            return prior

        prior = without_weights(make)
        count = sum(math.prod(v.shape) for v in prior.trainable_variables)
        assert count == self.expected(*counted)

    def test_top_prior_is_0_43_billion(self):
        # In a kernel that is stored as 3x5, two taps of 15 are zero.
        count = self.expected(512, 2048, 20, 4, 1, 20, 1000, 0, 0)
        dead = 2 * 512 * 2048 * 20
        assert (count + dead) / 1e9 == pytest.approx(0.43, abs=0.05)

"""Tests of `VQVAE2`."""

import inspect
import math

import numpy as np
import pytest
from keras import ops

from tests.helpers import array
from tests.helpers import arrays
from tests.helpers import assert_close
from tests.helpers import build
from tests.helpers import compiled
from tests.helpers import normal
from tests.helpers import run
from tests.helpers import save_and_load
from tests.helpers import weight_gradients
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.level import Level
from vqvae2_tf.runs.networks import without_weights

pytestmark = pytest.mark.any_backend

SMALL = {
    "hidden_units": 8,
    "residual_units": 4,
    "residual_layers": 1,
    "num_codes": 6,
    "code_dim": 3,
    "seed": 1,
}
NAMES = {1: ["top"], 2: ["top", "bottom"], 3: ["top", "middle", "bottom"]}


def random_images(height=16, width=24, channels=3, count=2, seed=0):
    return np.tanh(normal(count, height, width, channels, seed=seed))


def trained(images, **arguments):
    """A model after one training step, so that its codebooks are drawn."""
    model = build(VQVAE2(**{**SMALL, **arguments}), images)
    compiled(lambda x: model(x, training=True), model)(images)
    return model


@pytest.fixture(scope="module")
def two_levels():
    return trained(random_images())


@pytest.fixture(scope="module")
def three_levels():
    return trained(random_images(), strides=(2, 2, 2))


class TestShapes:
    @pytest.mark.parametrize(
        ("strides", "channels", "sizes"),
        [
            ((4,), 3, [(4, 6)]),
            ((4, 2), 1, [(2, 3), (4, 6)]),
            ((2, 4), 3, [(2, 3), (8, 12)]),
            ((2, 2, 2), 3, [(2, 3), (4, 6), (8, 12)]),
        ],
    )
    def test_codes_are_listed_coarsest_first(self, strides, channels, sizes):
        images = random_images(channels=channels)
        model = VQVAE2(**SMALL, strides=strides, channels=channels)
        build(model, images)
        outputs = run(model, images)
        assert set(outputs) == {"reconstruction", "codes", "commitment_loss"}
        assert outputs["reconstruction"].shape == images.shape
        assert [tuple(c.shape) for c in outputs["codes"]] == [
            (2, *size) for size in sizes
        ]
        assert {str(array(c).dtype) for c in outputs["codes"]} == {"int32"}
        assert outputs["commitment_loss"].shape == ()
        names = NAMES[len(strides)]
        assert model.levels((16, 24)) == [
            Level(name, *size, 6)
            for name, size in zip(names, sizes, strict=True)
        ]

    @pytest.mark.parametrize("size", [(15, 24), (16, 20)])
    def test_levels_of_a_wrong_size_raise(self, two_levels, size):
        with pytest.raises(ValueError, match="strides"):
            two_levels.levels(size)

    @pytest.mark.parametrize("method", ["__call__", "encode"])
    @pytest.mark.parametrize("size", [(14, 24), (18, 24)])
    def test_image_of_a_wrong_size_raises(self, two_levels, method, size):
        with pytest.raises(ValueError, match="{}x{}".format(*size)):
            getattr(two_levels, method)(random_images(*size))

    def test_stride_must_be_a_power_of_two(self):
        with pytest.raises(ValueError, match="powers of two"):
            VQVAE2(**SMALL, strides=(4, 3))

    def test_decode_needs_every_level(self, two_levels):
        codes = run(two_levels.encode, random_images())
        message = "`codes`: expected a map for each of top, bottom. Received: 1"
        with pytest.raises(ValueError, match=message):
            two_levels.decode(codes[1:])

    @pytest.mark.parametrize(
        ("level", "code"), [("top", 6), ("bottom", -2), ("bottom", 1.5)]
    )
    def test_codes_out_of_range_raise(self, two_levels, level, code):
        maps = {"top": np.zeros((2, 2, 3)), "bottom": np.zeros((2, 4, 6))}
        maps[level][1, 0, 1] = code
        codes = [ops.convert_to_tensor(x) for x in maps.values()]
        message = f"`{level}`: expected .*, at most 5. Received: {code}"
        with pytest.raises(ValueError, match=message):
            two_levels.decode(codes)

    @pytest.mark.parametrize("pixel", [255, -1.5, math.nan])
    def test_pixels_out_of_range_raise(self, two_levels, pixel):
        images = random_images()
        images[1, 0, 1, 2] = pixel
        with pytest.raises(ValueError, match=f"`images`: .*: {pixel}"):
            two_levels.encode(ops.convert_to_tensor(images))

    def test_an_empty_batch_raises(self, two_levels):
        with pytest.raises(ValueError, match="`images`: .* at least one"):
            two_levels.encode(random_images()[:0])
        empty = [np.zeros((0, 2, 3), "int32"), np.zeros((0, 4, 6), "int32")]
        with pytest.raises(ValueError, match="`top`: .* at least one"):
            two_levels.decode(empty)


class TestComposition:
    def test_levels_are_chained_as_in_algorithm_1(self, two_levels):
        model, images = two_levels, random_images(seed=3)
        h_bottom = model.encoders[1](images)
        h_top = model.encoders[0](h_bottom)
        top = model.quantizers[0](model.projections[0](h_top))
        decoded = model.level_decoders[0](top["embeddings"])
        both = ops.concatenate([h_bottom, decoded], axis=-1)
        bottom = model.quantizers[1](model.projections[1](both))
        upsampled = model.upsamplers[0](top["embeddings"])
        read = ops.concatenate([upsampled, bottom["embeddings"]], axis=-1)
        expected = {
            "reconstruction": model.decoder(read),
            "codes": [top["codes"], bottom["codes"]],
            "commitment_loss": top["commitment_loss"]
            + bottom["commitment_loss"],
        }
        assert_close(model(images), expected)

    def test_three_levels_upsample_to_the_bottom(self, three_levels):
        assert [u.stride for u in three_levels.upsamplers] == [4, 2]
        assert [d.upsampler.stride for d in three_levels.level_decoders] == [
            2,
            2,
        ]

    def test_each_level_is_told_all_coarser_ones(
        self, three_levels, monkeypatch
    ):
        images, seen = random_images(), []
        top, middle, bottom = three_levels.quantizers
        coded = [top(normal(2, 2, 3, 3)), middle(normal(2, 4, 6, 3))]

        def read(z, training):
            seen.append(array(z))
            return bottom_call(z, training)

        bottom_call = bottom.call
        monkeypatch.setattr(bottom, "call", read)
        monkeypatch.setattr(middle, "call", lambda z, training: coded[1])
        for change in (0.0, 1.0):
            # Of the second image.
            added = np.float32([0.0, change])[:, None, None, None]
            changed = coded[0]["embeddings"] + added
            output = {**coded[0], "embeddings": changed}
            monkeypatch.setattr(
                top, "call", lambda z, training, output=output: output
            )
            three_levels(images)
        np.testing.assert_array_equal(seen[0][0], seen[1][0])
        assert np.abs(seen[0][1] - seen[1][1]).max() > 1e-3

    @pytest.mark.parametrize("name", ["two_levels", "three_levels"])
    def test_decoded_codes_are_the_reconstruction(self, name, request):
        model = request.getfixturevalue(name)
        images = random_images(seed=3)
        outputs = run(model, images)
        codes = run(model.encode, images)
        for one, other in zip(codes, outputs["codes"], strict=True):
            np.testing.assert_array_equal(one, other)
        assert_close(
            run(lambda codes: model.decode(codes), codes),
            outputs["reconstruction"],
        )

    def test_contributions_are_what_each_level_adds(self, two_levels):
        codes = run(two_levels.encode, random_images(seed=3))
        top, bottom = map(array, run(two_levels.contributions, codes))
        some = [array(codes[0]), np.full_like(array(codes[1]), -1)]
        alone, whole = run(
            lambda *both: [two_levels.decode(x) for x in both], some, codes
        )
        np.testing.assert_allclose(top, array(alone), atol=1e-6)
        np.testing.assert_allclose(top + bottom, array(whole), atol=1e-6)
        assert np.abs(bottom).max() > 1e-3

    def test_codebooks_are_named_as_the_levels(self, three_levels):
        codebooks = three_levels.codebooks()
        assert list(codebooks) == NAMES[3]
        for codebook, quantizer in zip(
            codebooks.values(), three_levels.quantizers, strict=True
        ):
            np.testing.assert_array_equal(codebook, quantizer.codebook)

    def test_images_are_shown_above_their_reconstructions(self, two_levels):
        images = random_images(seed=3)
        shown = run(lambda x: two_levels.images_to_show({"image": x}), images)
        assert set(shown) == {"reconstructions"}
        shown = array(shown["reconstructions"])
        np.testing.assert_array_equal(shown[:, :16], images)
        restored = run(two_levels, images)["reconstruction"]
        np.testing.assert_allclose(shown[:, 16:], restored, atol=1e-5)

    def test_every_level_is_in_use(self, three_levels):
        codes = run(three_levels.encode, random_images(seed=3))
        image = array(run(three_levels.decode, codes))
        decode = compiled(three_levels.decode, three_levels)
        for level in range(3):
            changed = [array(c).copy() for c in codes]
            changed[level] = (changed[level] + 1) % 6
            assert np.any(array(decode(changed)) != image)


class TestGradient:
    def test_loss_reaches_every_weight(self, three_levels):
        batch = {"image": random_images()}
        variables = three_levels.trainable_variables
        gradients = weight_gradients(
            lambda: three_levels.loss_and_statistics(batch)[0], variables
        )
        for variable, values in zip(variables, gradients, strict=True):
            assert np.all(np.isfinite(values))
            assert np.any(values != 0), variable.path

    @pytest.mark.parametrize("level", [0, 1, 2])
    def test_commitment_reaches_each_level(
        self, three_levels, level, monkeypatch
    ):
        for i, quantizer in enumerate(three_levels.quantizers):
            if i != level:
                monkeypatch.setattr(quantizer, "commitment_cost", 0.0)
        # Finer levels' encoders feed the coarser ones.
        layers = [
            three_levels.projections[level],
            *three_levels.encoders[level:],
        ]
        variables = [v for layer in layers for v in layer.trainable_variables]
        images = random_images()
        gradients = weight_gradients(
            lambda: three_levels(images)["commitment_loss"], variables
        )
        for variable, values in zip(variables, gradients, strict=True):
            assert np.any(values != 0), variable.path

    def test_codebooks_are_not_trained(self, two_levels):
        trained_paths = {v.path for v in two_levels.trainable_variables}
        for quantizer in two_levels.quantizers:
            assert not trained_paths & {v.path for v in quantizer.weights}


class TestState:
    def test_changes_only_in_training(self, two_levels):
        model = two_levels
        before = arrays(model.variables)
        other = random_images(seed=4)
        model(other)
        model(other, training=False)
        model.loss_and_statistics({"image": other})
        model.decode(model.encode(other))
        for old, new in zip(before, arrays(model.variables), strict=True):
            np.testing.assert_array_equal(old, new)

    @pytest.mark.parametrize("through_loss", [False, True])
    def test_training_updates_every_codebook(self, through_loss):
        images = random_images()
        model = trained(images)
        before = [array(q.codebook).copy() for q in model.quantizers]
        if through_loss:

            def step(x):
                return model.loss_and_statistics({"image": x}, training=True)
        else:

            def step(x):
                return model(x, training=True)

        compiled(step, model)(images)
        for old, quantizer in zip(before, model.quantizers, strict=True):
            assert np.any(array(quantizer.codebook) != old)

    def test_levels_draw_their_own_codebooks(self, two_levels):
        seeds = [q.get_config()["seed"] for q in two_levels.quantizers]
        assert seeds == [1, 2]

    def test_compiled_equals_eager(self, two_levels):
        images = random_images(seed=5)
        expected = two_levels(images)
        actual = compiled(two_levels, two_levels)(images)
        assert_close(actual, expected)

    def test_mixed_bfloat16_is_close(self, two_levels):
        images = random_images(seed=5)
        low = build(VQVAE2(**SMALL, dtype="mixed_bfloat16"), images)
        low.set_weights(two_levels.get_weights())
        outputs = run(low, images)
        expected = run(two_levels, images)
        assert outputs["reconstruction"].dtype == "float32"
        assert outputs["commitment_loss"].dtype == "float32"
        same = [
            np.mean(array(one) == array(other))
            for one, other in zip(
                outputs["codes"], expected["codes"], strict=True
            )
        ]
        assert min(same) > 0.7
        codes = expected["codes"]
        actual = array(run(low.decode, codes))
        exact = array(run(two_levels.decode, codes))
        assert np.abs(actual - exact).max() < 0.05 * np.abs(exact).max()
        assert not np.array_equal(actual, exact)
        # One precision in training, coding and decoding.
        for one, other in zip(
            run(low.encode, images), outputs["codes"], strict=True
        ):
            np.testing.assert_array_equal(one, other)

    def test_save_and_load(self, tmp_path):
        arguments = {
            **SMALL,
            "strides": (2, 4),
            "channels": 1,
            "commitment_cost": 0.5,
            "ema_decay": 0.9,
            "dead_code_restart_steps": 5,
            "level_dropout": 0.1,
            "level_dropout_steps": 7,
        }
        images = random_images(channels=1)
        model = trained(images, **arguments)
        images = random_images(channels=1, seed=6)
        loaded = save_and_load(model, arguments, images, tmp_path)
        parameters = inspect.signature(VQVAE2).parameters
        config = loaded.get_config()
        for name, value in arguments.items():
            assert value != parameters[name].default
            assert config[name] == (
                list(value) if isinstance(value, tuple) else value
            )
        for quantizer in loaded.quantizers:
            assert quantizer.dead_code_restart_steps == 5

    def test_arguments_reach_the_quantizers(self):
        model = VQVAE2(
            **SMALL,
            commitment_cost=0.5,
            ema_decay=0.9,
            dead_code_restart_steps=5,
        )
        for quantizer in model.quantizers:
            assert quantizer.commitment_cost == 0.5
            assert quantizer.ema_decay == 0.9
            assert quantizer.dead_code_restart_steps == 5


class TestMetrics:
    def test_loss_is_mse_plus_commitment(self, two_levels):
        images = random_images(seed=7)
        loss, _ = run(
            lambda x: two_levels.loss_and_statistics({"image": x}), images
        )
        outputs = run(two_levels, images)
        errors = (array(outputs["reconstruction"]) - images) ** 2
        expected = np.mean(errors) + float(outputs["commitment_loss"])
        assert float(loss) == pytest.approx(expected, rel=1e-5)

    def test_over_a_whole_pass_equal_numpy(self, two_levels):
        passes = [random_images(seed=8), random_images(seed=9)]
        call = compiled(
            lambda x: two_levels.loss_and_statistics({"image": x}), two_levels
        )
        sums = None
        errors, unclipped = [], []
        codes = [[], []]
        for images in passes:
            _, statistics = call(images)
            statistics = {k: array(v) for k, v in statistics.items()}
            sums = sums or {k: 0 for k in statistics}
            sums = {k: sums[k] + statistics[k] for k in sums}
            outputs = run(two_levels, images)
            # On the [0, 1] scale.
            restored = (array(outputs["reconstruction"]) + 1) / 2
            assert restored.max() > 1
            for values, kept in (
                (np.clip(restored, 0, 1), errors),
                (restored, unclipped),
            ):
                difference = values - (images + 1) / 2
                kept.append(np.mean(difference**2, axis=(1, 2, 3)))
            for level in range(2):
                codes[level].append(np.ravel(outputs["codes"][level]))
        mse = np.mean(np.concatenate(errors))
        expected = {"mse": mse, "psnr": -10 * math.log10(mse)}
        expected["unclipped_mse"] = np.mean(np.concatenate(unclipped))
        for name, parts in zip(["top", "bottom"], codes, strict=True):
            _, counts = np.unique(np.concatenate(parts), return_counts=True)
            shares = counts / counts.sum()
            entropy = -np.sum(shares * np.log(shares))
            expected[f"{name}_usage"] = len(counts) / 6
            expected[f"{name}_perplexity"] = math.exp(entropy)
        metrics = two_levels.metrics_from_statistics(sums)
        assert metrics == pytest.approx(expected, rel=1e-4)

    def weighted_and_not(self, model):
        images = random_images(count=3, seed=8)
        padded = {"image": images, "weight": np.array([1, 1, 0], "float32")}
        whole = {"image": images[:2]}
        return (
            run(lambda batch: model.loss_and_statistics(batch)[1], batch)
            for batch in (padded, whole)
        )

    def test_weight_zero_takes_an_image_out_of_the_statistics(self, two_levels):
        padded, whole = self.weighted_and_not(two_levels)
        assert set(padded) == set(whole)
        for name in whole:
            assert_close(padded[name], whole[name])
        assert float(padded["images"]) == 2


class TestSize:
    """Trainable parameters, counted by hand from the tables."""

    def conv(self, size, inputs, outputs):
        return size * size * inputs * outputs + outputs

    def residual_stack(self, hidden, residual, layers):
        return layers * (
            self.conv(3, hidden, residual) + self.conv(1, residual, hidden)
        )

    def downsample(self, halvings, inputs, hidden):
        total, width = 0, inputs
        for i in range(halvings):
            total += self.conv(4, width, hidden if i else hidden // 2)
            width = hidden if i else hidden // 2
        return total + self.conv(3, width, hidden)

    def upsample(self, halvings, inputs, hidden, outputs):
        """Mirrors `downsample`: half the width just before the output."""
        widths = [hidden] * max(halvings - 2, 0)
        widths += [hidden // 2] * (halvings > 1)
        widths = [inputs, *widths, outputs]
        return sum(
            self.conv(4, widths[i], widths[i + 1]) for i in range(halvings)
        )

    def expected(self, strides, hidden, residual, layers, width, channels):
        stack = self.residual_stack(hidden, residual, layers)
        halvings = [int(math.log2(stride)) for stride in strides]
        total = 0
        for i, count in enumerate(halvings):
            is_top = i == len(strides) - 1
            inputs = hidden if i else channels
            total += self.downsample(count, inputs, hidden) + stack
            total += self.conv(1, hidden + (not is_top) * width, width)
            if i:
                # The decoder of this and all coarser levels, and its way down.
                coded = (len(strides) - i) * width
                total += self.conv(3, coded, hidden) + stack
                total += self.upsample(count, hidden, hidden, width)
                total += self.upsample(
                    sum(halvings[1 : i + 1]), width, hidden, width
                )
        total += self.conv(3, len(strides) * width, hidden) + stack
        return total + self.upsample(halvings[0], hidden, hidden, channels)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"strides": (4, 2)},
            {"strides": (8, 2, 2)},
            {"strides": (4,), "channels": 1},
            {
                "strides": (4, 2),
                "hidden_units": 64,
                "residual_units": 32,
                "num_codes": 256,
                "code_dim": 32,
            },
        ],
    )
    def test_number_of_parameters(self, arguments):
        def make():
            model = VQVAE2(**arguments, seed=1)
            model.build((None, 32, 32, model.channels))
            return model

        model = without_weights(make)
        count = sum(math.prod(v.shape) for v in model.trainable_variables)
        assert count == self.expected(
            arguments["strides"],
            arguments.get("hidden_units", 128),
            arguments.get("residual_units", 64),
            2,
            arguments.get("code_dim", 64),
            arguments.get("channels", 3),
        )
        codes = arguments.get("num_codes", 512)
        codebook = codes * arguments.get("code_dim", 64)
        state = sum(math.prod(v.shape) for v in model.non_trainable_weights)
        assert state == len(model.quantizers) * (codebook + codes + 1)


class TestLevelDropout:
    def make(self, strides, level_dropout, level_dropout_steps=0):
        model = VQVAE2(
            strides,
            4,
            2,
            1,
            6,
            3,
            level_dropout=level_dropout,
            level_dropout_steps=level_dropout_steps,
            seed=0,
        )
        model.build((None, 8, 8, 3))
        # The codebooks stay as the first batch sets them.
        for quantizer in model.quantizers:
            quantizer.ema_decay = 1.0
        return model

    @pytest.mark.parametrize("strides", [(2, 2), (2, 2, 2)])
    def test_images_are_decoded_from_some_coarser_levels(self, strides):
        model = self.make(strides, 0.6)
        images = random_images(8, 8, count=200)
        model(images, training=True)
        codes = [array(level) for level in model.encode(images)]
        candidates = []
        for shown in range(1, len(strides) + 1):
            hidden = [np.full_like(level, -1) for level in codes[shown:]]
            candidates.append(array(model.decode([*codes[:shown], *hidden])))
        restored = array(model(images, training=True)["reconstruction"])
        near = np.isclose(np.stack(candidates), restored, atol=1e-4)
        found = np.all(near, axis=(2, 3, 4)).T
        assert np.all(found.any(axis=1))
        shares = found.mean(axis=0)
        partial = 0.6 / (len(strides) - 1)
        assert shares[:-1] == pytest.approx(partial, abs=0.12)
        assert shares[-1] == pytest.approx(0.4, abs=0.12)

    def test_it_falls_to_nothing(self):
        model = self.make((2, 2), 0.8, 4)
        images = random_images(8, 8, count=300)
        step = compiled(lambda x: model(x, training=True), model)
        shares = []
        for _ in range(6):
            restored = array(step(images)["reconstruction"])
            whole = array(model.decode(model.encode(images)))
            same = np.isclose(restored, whole, atol=1e-4)
            shares.append(1.0 - same.all(axis=(1, 2, 3)).mean())
            model(images)  # No training, no step.
        assert shares == pytest.approx([0.8, 0.6, 0.4, 0.2, 0, 0], abs=0.1)
        # A vector half way between two codes may differ by rounding.
        assert max(shares[-2:]) < 0.05

    def test_only_training_drops_levels(self):
        model = self.make((2, 2), 0.9)
        images = random_images(8, 8, count=20)
        model(images, training=True)
        restored = array(model(images)["reconstruction"])
        whole = array(model.decode(model.encode(images)))
        np.testing.assert_allclose(restored, whole, atol=1e-5)

    def test_one_level_has_nothing_to_drop(self):
        model = self.make((4,), 0.9)
        images = random_images(8, 8, count=20)
        model(images, training=True)
        restored = array(model(images, training=True)["reconstruction"])
        whole = array(model.decode(model.encode(images)))
        np.testing.assert_allclose(restored, whole, atol=1e-4)

    def test_it_is_a_share(self):
        with pytest.raises(ValueError, match="level_dropout"):
            VQVAE2((2, 2), level_dropout=1.0)

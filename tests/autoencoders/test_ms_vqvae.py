"""Tests of `MSVQVAE`."""

import inspect

import numpy as np
import pytest
import scipy.ndimage
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
from vqvae2_tf.autoencoders import MSVQVAE
from vqvae2_tf.autoencoders.base import Autoencoder
from vqvae2_tf.level import Level

pytestmark = pytest.mark.any_backend

SMALL = {
    "hidden_units": 8,
    "residual_units": 4,
    "residual_layers": 1,
    "decoder_units": 4.0,
    "num_codes": 6,
    "code_dim": 3,
    "seed": 1,
}


def random_images(height=16, width=24, channels=3, count=2, seed=0):
    return np.tanh(normal(count, height, width, channels, seed=seed))


def trained(images, **arguments):
    """A model after one training step, so that its codebooks are drawn."""
    model = build(MSVQVAE(**{**SMALL, **arguments}), images)
    compiled(lambda x: model(x, training=True), model)(images)
    return model


def blurred_targets(images):
    """Equation 8's for images of 16x24 and three levels, coarsest first."""
    targets = [images]
    for _ in range(2):
        # The root of 16 is 4, and 3 is the nearest odd number.
        blurred = scipy.ndimage.gaussian_filter(
            targets[0], 0.8, mode="mirror", radius=1, axes=(1, 2)
        )
        targets.insert(0, blurred)
    return targets


@pytest.fixture(scope="module")
def model():
    """Three levels: 2x3, 4x6 and 8x12 codes of an image of 16x24."""
    return trained(random_images(), strides=(2, 2, 2))


@pytest.fixture(scope="module")
def codes(model):
    return [array(maps) for maps in run(model.encode, random_images(seed=3))]


class TestShapes:
    @pytest.mark.parametrize(
        ("strides", "channels", "sizes"),
        [
            ((4,), 1, [(4, 6)]),
            ((2, 4), 1, [(2, 3), (8, 12)]),
        ],
    )
    def test_levels_are_listed_coarsest_first(self, strides, channels, sizes):
        images = random_images(channels=channels)
        model = MSVQVAE(**SMALL, strides=strides, channels=channels)
        build(model, images)
        outputs = run(model, images)
        assert outputs["reconstruction"].shape == images.shape
        assert [tuple(c.shape) for c in outputs["codes"]] == [
            (2, *size) for size in sizes
        ]
        assert {str(array(c).dtype) for c in outputs["codes"]} == {"int32"}
        assert [tuple(c.shape) for c in outputs["contributions"]] == [
            images.shape for _ in sizes
        ]
        names = ["top", "bottom"][: len(sizes)]
        assert model.levels((16, 24)) == [
            Level(name, *size, 6)
            for name, size in zip(names, sizes, strict=True)
        ]

    def test_an_image_of_a_wrong_size_raises(self, model):
        with pytest.raises(ValueError, match="`strides` .* 18x24"):
            model(random_images(18))

    def test_stride_must_be_a_power_of_two(self):
        with pytest.raises(ValueError, match="powers of two"):
            MSVQVAE(**SMALL, strides=(4, 3))

    def test_what_is_out_of_range_raises(self, model, codes):
        with pytest.raises(ValueError, match="`images`: .*: 255"):
            model.encode(255 * np.ones((1, 16, 24, 3)))
        with pytest.raises(ValueError, match="a map for each of .* 2"):
            model.decode(codes[1:])
        with pytest.raises(ValueError, match="`middle`: .* at most 5.*: 6"):
            model.decode([codes[0], codes[1] * 0 + 6, codes[2]])

    def test_widths_of_decoders_grow_with_the_root_of_the_stride(self):
        model = MSVQVAE(strides=(4, 2, 2), decoder_units=20)
        assert [d.conv.filters for d in model.decoders] == [80, 56, 40]
        widths = [
            [conv.filters for conv in decoder.upsampling_convs]
            for decoder in model.decoders
        ]
        assert widths == [[40, 20, 10, 3], [28, 14, 3], [20, 3]]


class TestComposition:
    def test_scales_are_chained_as_in_section_3_2(self, model):
        images = random_images(seed=3)
        features = [model.encoders[2](images)]
        for encoder in (model.encoders[1], model.encoders[0]):
            features.insert(0, encoder(features[0]))
        codes, contributions, told = [], [], []
        for i in range(3):
            z = ops.concatenate([features[i], *told], axis=-1)
            quantized = model.quantizers[i](model.projections[i](z))
            decoder = model.decoders[i]
            x = decoder.residual_stack(decoder.conv(quantized["embeddings"]))
            *convs, last = decoder.upsampling_convs
            for j, conv in enumerate(convs):
                x = ops.relu(conv(x))
                if j == 0:
                    told = [x]
            contributions.append(last(x))
            codes.append(quantized["codes"])
        outputs = run(model, images)
        assert_close(outputs["codes"], codes)
        assert_close(outputs["contributions"], contributions)

    def test_contributions_add_up_exactly(self, model, codes):
        images = random_images(seed=3)
        outputs = run(model, images)
        total = 0.0
        for contribution in outputs["contributions"]:
            assert np.abs(array(contribution)).max() > 1e-3
            total = total + array(contribution)
        np.testing.assert_array_equal(total, array(outputs["reconstruction"]))
        contributions = run(model.contributions, codes)
        total = sum(array(contribution) for contribution in contributions)
        np.testing.assert_array_equal(total, array(run(model.decode, codes)))
        assert_close(contributions, outputs["contributions"])

    @pytest.mark.parametrize("shown", [(0,), (2,), (0, 1), (1, 2), ()])
    def test_levels_left_out_are_missing_in_the_sum(self, model, codes, shown):
        contributions = run(model.contributions, codes)
        expected = np.zeros((2, 16, 24, 3), "float32")
        for i in shown:
            expected = expected + array(contributions[i])
        some = [x if i in shown else 0 * x - 1 for i, x in enumerate(codes)]
        restored = array(run(model.decode, some))
        np.testing.assert_array_equal(restored, expected)

    def test_a_position_left_out_adds_nothing_to_its_pixels(self, model, codes):
        some = [x.copy() for x in codes]
        some[1][0, 2, 3] = -1
        difference = array(run(model.contributions, some)[1])
        assert np.all(difference[0, 8:12, 12:16] == 0)
        assert np.all(np.any(difference[1] != 0, axis=-1))

    def test_contributions_are_what_any_autoencoder_has(self, model, codes):
        expected = run(lambda x: Autoencoder.contributions(model, x), codes)
        assert_close(run(model.contributions, codes), expected)

    def test_codebooks_are_named_as_the_levels(self, model):
        codebooks = model.codebooks()
        assert list(codebooks) == ["top", "middle", "bottom"]
        for codebook, quantizer in zip(
            codebooks.values(), model.quantizers, strict=True
        ):
            np.testing.assert_array_equal(codebook, quantizer.codebook)


class TestLoss:
    def test_it_is_equation_6(self, model):
        images = random_images(seed=7)
        loss, statistics = run(
            lambda x: model.loss_and_statistics({"image": x}), images
        )
        outputs = run(model, images)
        expected, restored = float(outputs["commitment_loss"]), 0.0
        for target, contribution in zip(
            blurred_targets(images), outputs["contributions"], strict=True
        ):
            restored = restored + array(contribution)
            expected += np.mean((restored - target) ** 2)
        assert float(loss) == pytest.approx(expected, rel=1e-5)
        # What is measured is the whole image.
        error = np.mean((restored - images) ** 2)
        metrics = model.metrics_from_statistics(
            {name: array(value) for name, value in statistics.items()}
        )
        assert metrics["unclipped_mse"] == pytest.approx(error / 4, rel=1e-4)

    @pytest.mark.parametrize("scale", [0, 1])
    def test_a_scales_loss_does_not_touch_finer_decoders(self, model, scale):
        images = random_images()
        targets = blurred_targets(images)

        def loss():
            # Finer contributions have the values that meet their targets, and
            # the decoders' gradients: what these get, coarser terms give.
            outputs = dict(model(images))
            contributions = list(outputs["contributions"])
            for i in range(scale + 1, 3):
                exact = ops.stop_gradient(targets[i] - sum(contributions[:i]))
                finer = contributions[i]
                contributions[i] = exact + (finer - ops.stop_gradient(finer))
            outputs["contributions"] = contributions
            outputs["reconstruction"] = sum(contributions)
            return model.reconstruction_loss(images, outputs)

        parts = [d.trainable_variables for d in model.decoders]
        gradients = weight_gradients(loss, [v for p in parts for v in p])
        for i, part in enumerate(parts):
            largest = [np.abs(g).max() for g in gradients[: len(part)]]
            gradients = gradients[len(part) :]
            if i <= scale:
                assert min(largest) > 1e-5
            else:  # Targets are met up to rounding.
                assert max(largest) < 1e-6

    def test_it_reaches_every_weight(self, model):
        batch = {"image": random_images()}
        variables = model.trainable_variables
        gradients = weight_gradients(
            lambda: model.loss_and_statistics(batch)[0], variables
        )
        for variable, values in zip(variables, gradients, strict=True):
            assert np.all(np.isfinite(values))
            assert np.any(values != 0), variable.path


@pytest.mark.large
class TestState:
    def test_only_training_updates_the_codebooks(self):
        images = random_images()
        model = trained(images)
        before = arrays(model.variables)
        model.decode(model.encode(images))
        model.loss_and_statistics({"image": images})
        for old, new in zip(before, arrays(model.variables), strict=True):
            np.testing.assert_array_equal(old, new)
        before = [array(q.codebook).copy() for q in model.quantizers]
        compiled(
            lambda x: model.loss_and_statistics({"image": x}, training=True),
            model,
        )(images)
        for old, quantizer in zip(before, model.quantizers, strict=True):
            assert np.any(array(quantizer.codebook) != old)

    def test_mixed_bfloat16_is_close(self, model, codes):
        low = build(
            MSVQVAE(**SMALL, strides=(2, 2, 2), dtype="mixed_bfloat16"),
            random_images(),
        )
        low.set_weights(model.get_weights())
        outputs = run(low, random_images(seed=3))
        for name in ("reconstruction", "commitment_loss"):
            assert outputs[name].dtype == "float32"
        for contribution in outputs["contributions"]:
            assert contribution.dtype == "float32"
        actual = array(run(low.decode, codes))
        exact = array(run(model.decode, codes))
        assert np.abs(actual - exact).max() < 0.05 * np.abs(exact).max()
        assert not np.array_equal(actual, exact)

    def test_save_and_load(self, tmp_path):
        arguments = {
            **SMALL,
            "strides": (2, 4),
            "channels": 1,
            "commitment_cost": 0.5,
            "ema_decay": 0.9,
            "dead_code_restart_steps": 5,
        }
        images = random_images(channels=1)
        model = trained(images, **arguments)
        loaded = save_and_load(model, arguments, images, tmp_path)
        parameters = inspect.signature(MSVQVAE).parameters
        config = loaded.get_config()
        for name, value in arguments.items():
            assert value != parameters[name].default
            assert config[name] == (
                list(value) if isinstance(value, tuple) else value
            )
        for i, quantizer in enumerate(loaded.quantizers):
            assert quantizer.commitment_cost == 0.5
            assert quantizer.ema_decay == 0.9
            assert quantizer.dead_code_restart_steps == 5
            assert quantizer.get_config()["seed"] == 1 + i

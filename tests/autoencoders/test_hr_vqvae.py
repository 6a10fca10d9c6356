"""Tests of `HRVQVAE`."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from tests.helpers import BACKEND
from tests.helpers import array
from tests.helpers import assert_close
from tests.helpers import build
from tests.helpers import compiled
from tests.helpers import normal
from tests.helpers import run
from tests.helpers import save_and_load
from tests.helpers import weight_gradients
from tests.small_run import FLAGS
from tests.small_run import PRECISION
from tests.small_run import call
from tests.small_run import save_images
from tests.training.small import examples
from tests.training.small import plan
from vqvae2_tf.autoencoders import HRVQVAE
from vqvae2_tf.level import Level
from vqvae2_tf.training.devices import open_devices

# JAX compiles for each test anew, and tests these with the slow ones.
slow_on_jax = pytest.mark.large if BACKEND == "jax" else pytest.mark.any_backend

SMALL = {
    "stride": 4,
    "hidden_units": 8,
    "residual_units": 4,
    "residual_layers": 1,
    "num_codes": (3, 2, 4),
    "code_dim": 3,
    "seed": 1,
}


def random_images(height=16, width=24, channels=3, count=2, seed=0):
    return np.tanh(normal(count, height, width, channels, seed=seed))


def trained(images, **arguments):
    """A model after one training step, so that its codebooks are drawn."""
    model = build(HRVQVAE(**{**SMALL, **arguments}), images)
    compiled(lambda x: model(x, training=True), model)(images)
    return model


@pytest.fixture(scope="module")
def model():
    return trained(random_images())


@pytest.mark.any_backend
class TestNetwork:
    @pytest.mark.parametrize(
        ("stride", "channels", "num_codes"),
        [
            (8, 1, (5, 3)),
            pytest.param(2, 3, (4,), marks=pytest.mark.large),
        ],
    )
    def test_layers_are_levels_of_one_size(self, stride, channels, num_codes):
        images = random_images(channels=channels)
        arguments = {**SMALL, "stride": stride, "num_codes": num_codes}
        model = build(HRVQVAE(**arguments, channels=channels), images)
        outputs = run(model, images)
        assert set(outputs) == {"reconstruction", "codes", "commitment_loss"}
        assert outputs["reconstruction"].shape == images.shape
        assert outputs["reconstruction"].dtype == "float32"
        size = (16 // stride, 24 // stride)
        levels = [
            Level(f"layer_{i + 1}", *size, m) for i, m in enumerate(num_codes)
        ]
        assert model.levels((16, 24)) == levels
        assert [(x.shape, x.dtype) for x in map(array, outputs["codes"])] == [
            ((2, *size), "int32")
        ] * len(levels)

    @pytest.mark.parametrize("method", ["__call__", "encode"])
    def test_an_image_of_a_wrong_size_raises(self, model, method):
        with pytest.raises(ValueError, match="`stride` 4 .* 14x24"):
            getattr(model, method)(random_images(14))

    def test_stride_must_be_a_power_of_two(self):
        with pytest.raises(ValueError, match="`stride` must be powers.* 6"):
            HRVQVAE(**{**SMALL, "stride": 6})

    def test_codes_and_pixels_out_of_range_raise(self, model):
        codes = [np.zeros((1, 4, 6), "int32") for _ in range(3)]
        codes[1][0, 0, 1] = 2
        message = "`layer_2`: expected .*, at most 1. Received: 2"
        with pytest.raises(ValueError, match=message):
            model.decode(codes)
        with pytest.raises(ValueError, match="`images`"):
            model.encode(2 + random_images())

    def test_decoded_codes_are_the_reconstruction(self, model):
        images = random_images(seed=3)
        outputs = run(model, images)
        codes = run(model.encode, images)
        for one, other in zip(codes, outputs["codes"], strict=True):
            np.testing.assert_array_equal(one, other)
        decoded = run(lambda codes: model.decode(codes), codes)
        assert_close(decoded, outputs["reconstruction"])

    def test_the_first_layers_are_decoded_from_their_sum(self, model):
        codes = [array(x) for x in run(model.encode, random_images(seed=3))]
        decode = compiled(model.decode, model)
        quantizer, path, total = model.quantizer, 0, 0.0
        for i, size in enumerate(quantizer.num_codes):
            path = path * size + codes[i]
            total = total + array(quantizer.codebook(i))[path]
            first = codes[: i + 1] + [np.full_like(path, -1)] * (2 - i)
            assert_close(decode(first), run(model.decoder, total))

    @slow_on_jax
    def test_loss_reaches_every_weight(self, model):
        batch = {"image": random_images()}
        variables = model.trainable_variables
        gradients = weight_gradients(
            lambda: model.loss_and_statistics(batch)[0], variables
        )
        for variable, values in zip(variables, gradients, strict=True):
            assert np.all(np.isfinite(values))
            assert np.any(values != 0), variable.path
        own = {v.path for v in model.quantizer.weights}
        assert own
        assert not own & {v.path for v in variables}

    @slow_on_jax
    def test_save_and_load(self, tmp_path):
        arguments = {
            **SMALL,
            "channels": 1,
            "commitment_cost": (0.5, 0.25, 1.0),
            "ema_decay": 0.9,
            "dead_code_restart_steps": 5,
        }
        model = trained(random_images(channels=1), **arguments)
        images = random_images(channels=1, seed=6)
        loaded = save_and_load(model, arguments, images, tmp_path)
        assert loaded.quantizer.commitment_costs == [0.5, 0.25, 1.0]
        for layer in loaded.quantizer.layers:
            assert layer.dead_code_restart_steps == 5
            assert layer.ema_decay == 0.9

    @slow_on_jax
    def test_mixed_bfloat16_is_close(self, model):
        images = random_images(seed=5)
        low = build(HRVQVAE(**SMALL, dtype="mixed_bfloat16"), images)
        low.set_weights(model.get_weights())
        codes = run(model.encode, images)
        outputs = run(low, images)
        assert outputs["reconstruction"].dtype == "float32"
        assert np.mean(array(codes[0]) == array(outputs["codes"][0])) > 0.7
        exact, actual = (array(run(x.decode, codes)) for x in (model, low))
        assert np.abs(actual - exact).max() < 0.05 * np.abs(exact).max()

    @slow_on_jax
    def test_usage_is_of_local_and_of_global_codes(self, model):
        images = random_images(seed=8)
        _, statistics = run(
            lambda x: model.loss_and_statistics({"image": x}), images
        )
        statistics = {k: array(v) for k, v in statistics.items()}
        metrics = model.metrics_from_statistics(statistics)
        path, sizes = 0, {}
        for i, codes in enumerate(map(array, run(model.encode, images))):
            size = model.quantizer.num_codes[i]
            path = path * size + codes
            sizes[f"layer_{i + 1}"] = (codes, size)
            if i:
                sizes[f"layer_{i + 1}_global"] = (path, 3 * [2, 8][i - 1])
        names = [k for k in metrics if k.endswith("_usage")]
        assert set(names) == {f"{name}_usage" for name in sizes}
        for name, (codes, size) in sizes.items():
            _, counts = np.unique(codes, return_counts=True)
            shares = counts / counts.sum()
            perplexity = np.exp(-np.sum(shares * np.log(shares)))
            assert metrics[f"{name}_usage"] == pytest.approx(len(counts) / size)
            assert metrics[f"{name}_perplexity"] == pytest.approx(perplexity)

    def test_only_layer_1_has_a_codebook_by_itself(self, model):
        (name, codebook), *others = model.codebooks().items()
        assert (name, others) == ("layer_1", [])
        np.testing.assert_array_equal(codebook, model.quantizer.codebook(0))


@pytest.mark.any_backend
@pytest.mark.large
def test_training_resumes_in_the_middle_of_the_cold_start(tmp_path):
    def make_trainer():
        devices = open_devices("auto")
        keras.utils.set_random_seed(0)
        with devices.scope():
            model = HRVQVAE(**{**SMALL, "num_codes": (8, 8, 3)})
            model.build((None, 8, 8, 3))
        data = examples({"image": random_images(8, 8, count=10)})
        trainer = devices.trainer(model, data, plan())
        trainer.counters.update(lowest=np.inf, validated=0)
        return trainer, model

    (whole, expected), (first, started), (second, found) = (
        make_trainer() for _ in range(3)
    )
    whole.run(2)
    whole.run(4)
    first.run(2)
    first.save(str(tmp_path))
    initialized = array(started.quantizer.layers[2].initialized)
    assert initialized.any()
    assert not initialized.all()
    second.restore(str(tmp_path))
    second.run(4)
    for one, other in zip(expected.variables, found.variables, strict=True):
        np.testing.assert_array_equal(array(one), array(other))
    after = array(found.quantizer.layers[2].initialized)
    assert after.sum() > initialized.sum()


RUN = [
    *(flag for flag in FLAGS if "--strides" not in flag),
    "--autoencoder=hr_vqvae",
    "--stride=4",
    "--num_codes=4,3,2",
    "--dead_code_restart_steps=2",
    "--prior_attention_every=1,0,0",
    "--prior_output_layers=0",
]

LOADER = """
import sys
for name in ("keras", "tf_keras", "vqvae2_tf"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf
folder = sys.argv[1]
images = np.load(f"{folder}/images.npy")
model = tf.saved_model.load(f"{folder}/run/saved_models/autoencoder")
codes = model.encode(images)
unknown = -np.ones_like(codes["layer_1"])
results = {name: value.numpy() for name, value in codes.items()}
names = [f"layer_{i}" for i in (1, 2, 3)]
results["all"] = model.reconstruct(images).numpy()
results["decoded"] = model.decode(*(codes[name] for name in names)).numpy()
results["two"] = model.decode(codes["layer_1"], codes["layer_2"], unknown)
results["codebook"] = model.codebooks()["layer_1"].numpy()
generator = tf.saved_model.load(f"{folder}/run/saved_models/generator")
options = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
options = {k: tf.constant(v) for k, v in options.items()}
drawn = generator.sample_codes(
    tf.constant([0, 2]), tf.constant(1), tf.range(2), options)
for name, value in drawn.items():
    results[f"drawn_{name}"] = value.numpy()
np.savez(f"{folder}/results.npz", **results)
"""


@pytest.mark.large
@pytest.mark.skipif(BACKEND != "tensorflow", reason="trained by TensorFlow")
def test_the_whole_pipeline(tmp_path, capsys):
    from vqvae2_tf.commands import codebook
    from vqvae2_tf.commands import evaluate
    from vqvae2_tf.commands import reconstruct
    from vqvae2_tf.commands import train

    save_images(tmp_path / "images")
    run_dir = tmp_path / "run"
    arguments = [
        *RUN,
        f"--dataset=folder:{tmp_path / 'images'}",
        f"--data_dir={tmp_path / 'tfds'}",
        f"--run_dir={run_dir}",
    ]
    assert call(train, *arguments) is None
    before = (run_dir / "metrics.json").read_bytes()
    metrics = json.loads(before)
    for name, size in (("layer_3", 2), ("layer_3_global", 24)):
        assert 1 <= metrics[f"{name}_perplexity"] <= size
    # Resumed, it ends the same.
    for name in ("autoencoder/result.json", "prior_layer_2/result.json"):
        assert (run_dir / name).exists()
    (run_dir / "prior_layer_2" / "model.keras").unlink()
    assert call(train, *arguments) is None
    assert (run_dir / "metrics.json").read_bytes() == before

    model = keras.saving.load_model(run_dir / "autoencoder" / "model.keras")
    images = random_images(8, 12, count=3)
    np.save(tmp_path / "images.npy", images)
    subprocess.run(
        [sys.executable, "-c", LOADER, str(tmp_path)], cwd="/", check=True
    )
    results = np.load(tmp_path / "results.npz")
    codes = [array(x) for x in model.encode(images)]
    for i, expected in enumerate(codes):
        np.testing.assert_array_equal(results[f"layer_{i + 1}"], expected)
        drawn = results[f"drawn_layer_{i + 1}"]
        assert drawn.shape == (2, 2, 3)
        assert 0 <= drawn.min() <= drawn.max() < (4, 3, 2)[i]
    # In bfloat16 a graph rounds elsewhere than eager calls.
    atol = 1e-5 if PRECISION == "float32" else 0.02
    expected = np.clip(array(model.decode(codes)), -1, 1)
    assert_close(results["all"], expected, atol=atol)
    assert_close(results["decoded"], expected, atol=atol)
    codes[2][:] = -1
    expected = np.clip(array(model.decode(codes)), -1, 1)
    assert_close(results["two"], expected, atol=atol)
    assert_close(results["codebook"], array(model.codebooks()["layer_1"]))

    verb = [f"--run_dir={run_dir}"]
    source, out = f"--input={tmp_path / 'images'}", f"--output={tmp_path}"
    levels = "--levels=layer_1,layer_2"
    assert call(reconstruct, *verb, source, f"{out}/restored", levels) is None
    assert len(list((tmp_path / "restored").rglob("*.png"))) == 12
    assert call(codebook, *verb, f"{out}/codebook") is None
    names = {path.name for path in (tmp_path / "codebook").glob("*.png")}
    assert names == {"layer_1.png"}
    assert Image.open(tmp_path / "codebook" / "layer_1.png").width > 8
    capsys.readouterr()
    assert call(evaluate, "nll", *verb) is None
    assert "layer_3" in json.loads(capsys.readouterr().out)

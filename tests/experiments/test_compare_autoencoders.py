"""The comparison of the autoencoders, and its flat residual quantizer."""

import importlib.util
import pathlib
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from tests.helpers import array
from tests.helpers import normal
from vqvae2_tf.errors import UserError

EXPERIMENTS = pathlib.Path(__file__).parents[2] / "experiments"


def load(name):
    spec = importlib.util.spec_from_file_location(
        f"experiments.{name}", EXPERIMENTS / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


compare = load("compare_autoencoders")
flat_residual = load("flat_residual")


def test_layers_quantize_what_is_left_in_one_codebook_each():
    quantizer = flat_residual.FlatQuantizer((4, 3), 2, (0.25,))
    z = normal(2, 3, 5, 2)
    quantizer.build(z.shape)
    codebooks = [normal(4, 2, seed=1), normal(3, 2, seed=2)]
    for layer, codebook in zip(quantizer.layers, codebooks, strict=True):
        layer.set_codebook(codebook)
    outputs = quantizer(z)
    residual, loss = z, 0.0
    for codebook, codes in zip(codebooks, outputs["codes"], strict=True):
        distances = ((residual[..., None, :] - codebook) ** 2).sum(-1)
        np.testing.assert_array_equal(codes, distances.argmin(-1))
        residual = residual - codebook[distances.argmin(-1)]
        loss += 0.25 * np.mean(residual**2)
    expected = z - residual
    np.testing.assert_allclose(outputs["embeddings"], expected, atol=1e-5)
    embedded = quantizer.embed(outputs["codes"])
    np.testing.assert_allclose(embedded, expected, atol=1e-5)
    assert float(outputs["commitment_loss"]) == pytest.approx(loss, rel=1e-4)


def test_the_systems_have_the_same_bits():
    for flags in compare.SYSTEMS.values():
        config = compare.configuration.parse(
            ["--dataset=none", "--run_dir=none", "--image_size=64"]
            + flags.split()
        )
        bits = sum(level.bits for level in config.levels)
        assert bits == pytest.approx(256 * 9, rel=1e-3)


def test_a_line_has_the_means_over_the_seeds():
    def numbers(mse, usage):
        names = ("ssim", "bits", "parameters", "encode_ms", "decode_ms")
        own = {"usage_1": usage, "perplexity_1": 3.0, "usage_2": 0.5}
        own["perplexity_2"] = 2.0
        return {"mse": mse, **own, **dict.fromkeys(names, 1.0)}

    line = compare.line_of("any", [numbers(0.01, 1.0), numbers(0.03, 0.9)])
    found = dict(zip(compare.HEAD, line, strict=True))
    assert found["MSE"] == "0.02000 ±0.01414"
    assert found["PSNR"] == "16.99"
    assert (found["usage"], found["perplexity"]) == ("95%, 50%", "3, 2")


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--dry_run", "--dry_run"),
        ("--seeds=0,x", "--seed.*x"),
        ("--num_codes=64", "--num_codes=64: this is the same"),
    ],
)
def test_bad_arguments_are_refused(argument, words, tmp_path):
    arguments = ["--dataset=none", f"--run_dir={tmp_path}", argument]
    with pytest.raises(UserError, match=words):
        compare.main(arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.large
def test_systems_are_trained_measured_and_shown(monkeypatch, tmp_path, capsys):
    chosen = ("VQ-VAE-2", "flat residual")
    systems = {name: compare.SYSTEMS[name] for name in chosen}
    monkeypatch.setattr(compare, "SYSTEMS", systems)
    arguments = [
        "--dataset=emoji64",
        f"--data_dir={tmp_path / 'data'}",
        f"--run_dir={tmp_path / 'runs'}",
        "--precision=float32",
        "--image_size=16",
        *("--hidden_units=4", "--residual_units=2", "--code_dim=2"),
        *("--batch_size=4", "--steps=2", "--validate_every=2"),
    ]
    compare.main(arguments)
    table = (tmp_path / "runs" / "table.txt").read_text()
    assert capsys.readouterr().out.endswith(f"{table}\n")
    systems = [line[: len("flat residual")] for line in table.splitlines()]
    assert [system.strip() for system in systems] == ["system", *chosen]
    with Image.open(tmp_path / "runs" / "images.png") as image:
        # Held-out images, two levels and three layers.
        assert image.height > 6 * 16
    trained = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert trained == [
        *("flat_residual_0", "images.png", "table.txt", "vq-vae-2_0"),
    ]
    model = keras.saving.load_model(
        tmp_path / "runs/flat_residual_0/autoencoder/model.keras"
    )
    assert array(model.quantizer.codebook(1)).shape == (8, 2)

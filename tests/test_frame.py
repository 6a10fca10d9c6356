"""Networks that the package does not know pass the whole pipeline."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

import vqvae2_tf
from tests import toy_autoencoder
from tests.small_run import PRECISION
from tests.toy_autoencoder import ToyAutoencoder
from tests.toy_prior import ToyPrior
from vqvae2_tf.commands import cli
from vqvae2_tf.commands import codebook
from vqvae2_tf.commands import evaluate
from vqvae2_tf.commands import reconstruct
from vqvae2_tf.commands import sample
from vqvae2_tf.commands import train
from vqvae2_tf.export.load import Autoencoder
from vqvae2_tf.export.load import Generator
from vqvae2_tf.flags import Flag

LEVELS = [("sketch", 2, 2, 5), ("first", 4, 4, 3), ("second", 4, 4, 4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of images in two classes, and of a finished run of the toys."""
    folder = tmp_path_factory.mktemp("toys")
    rng = np.random.default_rng(0)
    for label, brightness in (("dark", 0), ("light", 150)):
        (folder / "images" / label).mkdir(parents=True)
        for i in range(8):
            pixels = brightness + rng.integers(100, size=(8, 8, 3))
            Image.fromarray(pixels.astype("uint8")).save(
                folder / "images" / label / f"{i}.png"
            )
    run(folder)
    return folder


def run(folder, *arguments):
    cli.run(
        train.main,
        [
            "--autoencoder=tests.toy_autoencoder",
            "--prior=tests.toy_prior,tests.toy_prior,pixelsnail",
            f"--dataset=folder:{folder / 'images'}",
            f"--data_dir={folder / 'tfds'}",
            f"--run_dir={folder / 'run'}",
            f"--precision={PRECISION}",
            "--image_size=8",
            "--toy_codes=5,3,4",
            "--batch_size=4",
            "--steps=4",
            "--steps_per_loop=2",
            "--validate_every=2",
            "--prior_toy_units=2,3,4",
            "--prior_hidden_units=4",
            "--prior_residual_units=4",
            "--prior_layers=1",
            "--prior_attention_every=0",
            "--prior_conditioning_blocks=2",
            "--prior_conditioning_units=4",
            "--prior_batch_size=4",
            "--prior_steps=4",
            "--prior_schedule=cosine",
            "--sharpness=2",
            "--samples_per_class=2",
            *arguments,
        ],
    )


def test_a_run_writes_what_any_run_does(folder):
    run_dir = folder / "run"
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["mse"] > 0
    bits = 0
    for name, height, width, num_codes in LEVELS:
        assert 1 <= metrics[f"{name}_perplexity"] <= num_codes
        nats = height * width * metrics[f"{name}_nll"]
        assert metrics[f"{name}_bits_per_image"] == pytest.approx(
            nats / np.log(2)
        )
        bits += nats / np.log(2)
    assert metrics["bits_per_image"] == pytest.approx(bits)
    assert Image.open(run_dir / "samples.png").height == 2 * (8 + 2) + 2


def test_the_card_of_the_codes_reports_the_levels(folder):
    card = json.loads((folder / "run" / "codes" / "codes.json").read_text())
    found = [
        (level["name"], level["height"], level["width"], level["num_codes"])
        for level in card["levels"]
    ]
    assert found == LEVELS


@pytest.mark.large
def test_a_run_resumes_and_ends_the_same(folder, capsys):
    run_dir = folder / "run"
    before = (run_dir / "metrics.json").read_bytes()
    for name in ("prior_second/model.keras", "samples.png"):
        (run_dir / name).unlink()
    run(folder)
    assert (run_dir / "metrics.json").read_bytes() == before
    assert "prior_first: already finished" in capsys.readouterr().out


def test_saved_models_know_the_levels_and_options(folder):
    autoencoder = Autoencoder(str(folder / "run/saved_models/autoencoder"))
    generator = Generator(str(folder / "run/saved_models/generator"))
    for model in (autoencoder, generator):
        assert [
            (level.name, level.height, level.width, level.num_codes)
            for level in model.levels.values()
        ] == LEVELS
    assert autoencoder.codebooks == {}
    names = [flag.name for flag in generator.sampling_flags]
    assert names == ["sharpness", "temperature", "top_k", "top_p"]
    options = {flag.name: flag.default for flag in generator.sampling_flags}
    codes = generator.sample_codes([0, 1, 1], 3, [0, 1, 2], options)
    for name, height, width, num_codes in LEVELS:
        assert codes[name].shape == (3, height, width)
        assert codes[name].min() >= 0
        assert codes[name].max() < num_codes
    again = generator.sample_codes([1], 3, [2], options)
    for name in codes:
        np.testing.assert_array_equal(again[name][0], codes[name][2])


def test_the_verbs_work_on_it(folder, capsys):
    run_dir = f"--run_dir={folder / 'run'}"
    out = f"--output={folder}"
    cli.run(
        reconstruct.main,
        [
            run_dir,
            f"--input={folder / 'images'}",
            f"{out}/restored",
            "--levels=sketch,first",
        ],
    )
    assert len(list((folder / "restored").rglob("*.png"))) == 16
    cli.run(
        sample.main, [run_dir, f"{out}/drawn", "--count=2", "--sharpness=3"]
    )
    assert len(list((folder / "drawn" / "images").rglob("*.png"))) == 4
    cli.run(codebook.main, [run_dir, f"{out}/codebook"])
    usage = json.loads((folder / "codebook" / "usage.json").read_text())
    assert usage["train"]["second"]["codes"] == 4
    capsys.readouterr()
    cli.run(evaluate.main, ["nll", run_dir])
    assert "second" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("--toy_patch=3", "--toy_patch must divide"),
        ("--toy_codes=2,2", "--toy_codes must hold three"),
        ("--num_codes=7", "--num_codes is a flag of --autoencoder="),
        ("--temperature=0", "--temperature: expected a finite number"),
        ("--prior=tests.nothing", "--prior=tests.nothing: expected one of"),
    ],
)
def test_mistakes_are_sentences_about_flags(folder, argument, sentence):
    with pytest.raises(SystemExit) as caught:
        run(folder, f"--run_dir={folder / 'other'}", argument)
    assert str(caught.value).startswith("error: ")
    assert sentence in str(caught.value)
    assert not (folder / "other").exists()


@pytest.mark.parametrize(
    ("model", "table", "name"),
    [
        (ToyPrior, "SAMPLING_FLAGS", "steps"),
        (ToyPrior, "SAMPLING_FLAGS", "count"),
        (ToyPrior, "FLAGS", "steps"),
        (ToyAutoencoder, "FLAGS", "levels"),
    ],
)
def test_a_flag_that_every_run_has_is_no_networks(
    folder, monkeypatch, model, table, name
):
    monkeypatch.setattr(model, table, (Flag(name, 1, "Another meaning."),))
    with pytest.raises(SystemExit, match=f"{name} is a flag of every run"):
        run(folder)


def test_levels_are_those_of_the_call():
    class Coarser(ToyAutoencoder):
        def levels(self, image_size):
            return super().levels((image_size[0] // 2, image_size[1]))

    with pytest.raises(ValueError, match="`levels` gives maps .*1, 2.*2, 2"):
        Coarser().build((None, 8, 8, 3))


def test_levels_have_names_of_their_own(folder, monkeypatch):
    class Twice(ToyAutoencoder):
        def levels(self, image_size):
            return super().levels(image_size)[1:2] * 2

    monkeypatch.setattr(toy_autoencoder, "Model", Twice)
    with pytest.raises(SystemExit, match="levels of different names"):
        run(folder)


def test_nothing_in_the_package_knows_them():
    package = pathlib.Path(vqvae2_tf.__file__).parent
    for path in package.rglob("*.py"):
        assert "toy" not in path.read_text(encoding="utf-8").lower(), path

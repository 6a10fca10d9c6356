"""A run on codes from elsewhere: priors without an autoencoder of ours."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.small_run import assert_one_sentence
from tests.small_run import call
from tests.small_run import contents
from vqvae2_tf.commands import evaluate
from vqvae2_tf.commands import export
from vqvae2_tf.commands import extract_codes
from vqvae2_tf.commands import import_codes
from vqvae2_tf.commands import train
from vqvae2_tf.runs.folder import read_config
from vqvae2_tf.runs.pipeline import Run

pytestmark = pytest.mark.large

LEVELS = [
    {"name": "top", "height": 4, "width": 4, "num_codes": 4},
    {"name": "bottom", "height": 8, "width": 8, "num_codes": 5},
]
KEPT = 0.85
FLAGS = [
    "--precision=float32",
    "--prior_hidden_units=16",
    "--prior_residual_units=16",
    "--prior_layers=2",
    "--prior_attention_every=0",
    "--prior_dropout=0",
    "--prior_output_layers=0",
    "--prior_conditioning_blocks=2",
    "--prior_conditioning_units=8",
    "--prior_batch_size=64",
    "--prior_steps=400",
    "--prior_schedule=constant",
    "--prior_learning_rate=0.003",
    "--prior_polyak_decay=0.98",
    "--samples_per_class=3",
]


def enlarged(codes):
    """`[N, h, w]` with each code twice across and down."""
    return np.repeat(np.repeat(codes, 2, axis=1), 2, axis=2)


def texture(count, seed):
    """Arrays of codes and labels, and the NLL of each level in nats a code.

    A row of the top level begins anywhere; the next code is one more, or one
    less in the other class, with probability `KEPT`, and otherwise any other.
    A code of the bottom level is the one above it, with that probability.
    """
    rng = np.random.default_rng(seed)

    def noisy(expected, num_codes):
        kept = rng.random(expected.shape) < KEPT
        step = rng.integers(1, num_codes, expected.shape)
        codes = np.where(kept, expected, (expected + step) % num_codes)
        shares = np.where(kept, KEPT, (1 - KEPT) / (num_codes - 1))
        return codes, -np.log(shares)

    labels = rng.integers(2, size=count)
    top = np.zeros((count, 4, 4), int)
    nlls = np.full(top.shape, np.log(4))
    top[:, :, 0] = rng.integers(4, size=(count, 4))
    for column in range(1, 4):
        expected = top[:, :, column - 1] + 2 * labels[:, None] - 1
        top[:, :, column], nlls[:, :, column] = noisy(expected % 4, 4)
    bottom, bottom_nlls = noisy(enlarged(top), 5)
    codes = {"top": top, "bottom": bottom, "labels": labels}
    return codes, [nlls.mean(), bottom_nlls.mean()]


def save_decoder(path):
    """A decoder to grey pixels, a code each."""
    module = tf.Module()
    module.shades = tf.Variable(tf.linspace(-1.0, 1.0, 5))

    def decode(top, bottom):
        return tf.gather(module.shades, bottom)[..., None]

    specs = [
        tf.TensorSpec((None, x["height"], x["width"]), tf.int32) for x in LEVELS
    ]
    module.decode = tf.function(decode, specs)
    tf.saved_model.save(module, path)


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    """Folder of imported codes."""
    path = tmp_path_factory.mktemp("imported")
    np.savez(path / "codes.npz", **texture(4000, 0)[0])
    np.savez(path / "held_out.npz", **texture(500, 1)[0])
    card = {"levels": LEVELS, "class_names": ["down", "up"]}
    (path / "card.json").write_text(json.dumps(card))
    imported = call(
        import_codes,
        f"--input={path / 'codes.npz'}",
        f"--validation={path / 'held_out.npz'}",
        f"--card={path / 'card.json'}",
        f"--output={path / 'codes'}",
    )
    assert imported is None
    return path / "codes"


def run_on(codes, run_dir, *arguments):
    flagfile = f"--flagfile={codes / 'train.flags'}"
    return call(train, flagfile, *FLAGS, f"--run_dir={run_dir}", *arguments)


@pytest.fixture(scope="module")
def run(codes):
    """Folder of a finished run."""
    path = codes.parent / "run"
    assert run_on(codes, path) is None
    return path


@pytest.mark.any_backend
def test_priors_learn_the_codes_and_draw_them(codes, run, capsys):
    metrics = json.loads((run / "metrics.json").read_text())
    expected = texture(500, 1)[1]
    for level, nll in zip(LEVELS, expected, strict=True):
        # No prior is better than the texture itself, up to chance.
        assert nll - 0.01 < metrics[f"{level['name']}_nll"] < nll + 0.04
    bits = (16 * expected[0] + 64 * expected[1]) / np.log(2)
    assert abs(metrics["bits_per_image"] - bits) < 0.05 * bits
    # Tiles of 8x8 codes: a row a class.
    with Image.open(run / "samples.png") as samples:
        assert samples.height == 2 * (8 * 8 + 2) + 2
    assert not (run / "autoencoder").exists()

    before = contents(run)
    assert run_on(codes, run) is None
    assert contents(run) == before
    capsys.readouterr()
    assert call(evaluate, "nll", f"--run_dir={run}") is None
    for name, values in json.loads(capsys.readouterr().out).items():
        difference = values["validation_nll"] - metrics[f"{name}_nll"]
        assert abs(difference) < 1e-5


def test_a_decoder_may_come_later(codes, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    before = contents(copy)
    save_decoder(str(tmp_path / "decoder"))
    assert run_on(codes, copy, f"--decoder={tmp_path / 'decoder'}") is None
    after = contents(copy)
    changed = {name for name in before if before[name] != after.get(name)}
    assert {"samples.png", "saved_models/generator/saved_model.pb"} <= changed
    assert not any(name.startswith("prior") for name in changed)
    # Of pixels, a code each.
    with Image.open(copy / "samples.png") as samples:
        assert samples.height == 2 * (8 + 2) + 2


def test_a_decoder_of_all_levels_shows_the_finest_alone(run, tmp_path):
    save_decoder(str(tmp_path / "decoder"))
    config = read_config(str(run)).replace(decoder=str(tmp_path / "decoder"))
    assert Run(config, None)._decoder_up_to(0, {}) is None
    top, bottom = (
        np.full((2, level.height, level.width), 4, "int32")
        for level in config.levels
    )
    images = Run(config, None)._decoder_up_to(1, {})([top, bottom])
    np.testing.assert_array_equal(images, np.ones((2, 8, 8, 1)))
    # Without one the images would only show the codes.
    config = config.replace(decoder=None)
    assert Run(config, None)._decoder_up_to(1, {}) is None


def test_a_generator_is_all_that_is_exported(run, tmp_path):
    output = tmp_path / "exported"
    assert call(export, f"--run_dir={run}", f"--output={output}") is None
    assert [path.name for path in output.iterdir()] == ["generator"]


def test_there_are_no_images_to_extract_codes_of(run, tmp_path):
    arguments = [f"--run_dir={run}", f"--output={tmp_path / 'codes'}"]
    message = call(extract_codes, *arguments)
    assert_one_sentence(message, "--autoencoder=external has no images")

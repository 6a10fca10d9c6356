"""A run whose levels have different priors, from images to samples."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import array
from tests.small_run import FLAGS
from tests.small_run import call
from tests.small_run import save_images
from vqvae2_tf.commands import evaluate
from vqvae2_tf.commands import sample
from vqvae2_tf.commands import train
from vqvae2_tf.export import load
from vqvae2_tf.priors import MaskGIT
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.sampling import sample_levels

pytestmark = pytest.mark.large

ALONE = """
import sys
for name in ("keras", "tf_keras", "vqvae2_tf"):
    sys.modules[name] = None
import json
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
table = json.loads(model.options().numpy())
options = {o["name"]: o["default"] for o in table}
for o in table:
    if o["choices"]:
        options[o["name"]] = [o["choices"].index(x) for x in o["default"]]
options.update(decoding_steps=3, decoding_order=1, guidance=1.5)
options = {n: tf.constant(x, tf.int32 if type(x) is int or type(x) is list
           and type(x[0]) is int else tf.float32) for n, x in options.items()}
labels = tf.constant([0, 1, 2, 1])
codes = model.sample_codes(labels, 3, tf.range(4), options)
np.savez(sys.argv[2], **{n: x.numpy() for n, x in codes.items()})
"""


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    save_images(folder / "images")
    done = call(
        train,
        *FLAGS,
        f"--dataset=folder:{folder / 'images'}",
        f"--data_dir={folder / 'tfds'}",
        f"--run_dir={folder / 'run'}",
        "--prior=pixelsnail,maskgit",
        "--prior_label_dropout=0.1",
        "--prior_local_attention",
        "--decoding_steps=3",
        "--guidance=1,1.5",
    )
    assert done is None
    return folder / "run"


def networks_of(run_dir):
    names = ("prior_top", "prior_bottom")
    priors = [
        keras.saving.load_model(run_dir / name / "model.keras")
        for name in names
    ]
    assert [type(prior) for prior in priors] == [PixelSNAIL, MaskGIT]
    return priors


def test_only_a_likelihood_is_called_one(run_dir, capsys):
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["top_nll"] > 0
    assert metrics["bottom_bound"] > 0
    assert not {"bottom_nll", "bits_per_image"} & metrics.keys()
    capsys.readouterr()
    assert call(evaluate, "nll", f"--run_dir={run_dir}") is None
    found = json.loads(capsys.readouterr().out)
    assert found["bottom"].keys() == {"train_bound", "validation_bound"}
    # The same masks again.
    assert found["bottom"]["validation_bound"] == pytest.approx(
        metrics["bottom_bound"], rel=1e-3
    )


def test_the_saved_model_alone_draws_what_the_networks_do(run_dir, tmp_path):
    path = str(run_dir / "saved_models" / "generator")
    program = [sys.executable, "-c", ALONE, path, str(tmp_path / "codes.npz")]
    subprocess.run(program, cwd="/", check=True)
    found = np.load(tmp_path / "codes.npz")
    priors = networks_of(run_dir)
    options = [
        {"guidance": 1.5},
        {"guidance": 1.5, "decoding_steps": 3, "decoding_order": "halton"},
    ]
    labels = np.int32([0, 1, 2, 1])
    draw = tf.function(
        lambda: sample_levels(priors, labels, options, seed=3), jit_compile=True
    )
    for name, codes in zip(("top", "bottom"), draw(), strict=True):
        np.testing.assert_array_equal(found[name], array(codes))


def test_the_verb_takes_the_options_of_each(run_dir, tmp_path, capsys):
    output = f"--output={tmp_path / 'samples'}"
    arguments = [f"--run_dir={run_dir}", output, "--count=2"]
    done = call(
        sample,
        *arguments,
        "--decoding_steps=2",
        "--decoding_order=halton",
        "--temperature=0.9,1",
        "--guidance_schedule=linear",
    )
    assert done is None
    assert len(list((tmp_path / "samples").rglob("0*.png"))) == 6
    message = call(sample, *arguments, "--decoding_order=best")
    assert "--decoding_order: expected one of confidence, halton" in message
    assert call(sample, *arguments, "--help") == 0
    assert "--choice_temperature: " in capsys.readouterr().out


def test_both_levels_are_completed(run_dir):
    priors = networks_of(run_dir)
    labels = np.int32([0, 2])
    rng = np.random.default_rng(0)
    known, masks = [], []
    for prior in priors:
        level = prior.level
        known.append(rng.integers(level.num_codes, size=(2, *level.size)))
        masks.append(rng.random((2, *level.size)) < 0.5)
    known = [x.astype("int32") for x in known]
    drawn = tf.function(
        lambda: sample_levels(priors, labels, known=known, known_mask=masks),
        jit_compile=True,
    )()
    for codes, kept, mask in zip(drawn, known, masks, strict=True):
        codes = array(codes)
        np.testing.assert_array_equal(codes[mask], kept[mask])
        assert (codes[~mask] != kept[~mask]).any()
        assert codes.min() >= 0


def test_a_generator_is_loaded_with_options_of_both(run_dir):
    model = load.Generator(os.path.join(run_dir, "saved_models", "generator"))
    flags = {flag.name: flag for flag in model.sampling_flags}
    assert {"temperature", "decoding_steps", "choice_temperature"} < set(flags)
    assert list(flags["decoding_order"].choices) == ["confidence", "halton"]

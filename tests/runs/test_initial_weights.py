"""Networks that start from those of another run."""

import json
import shutil

import keras
import numpy as np
import pytest

from tests.helpers import array
from tests.small_run import assert_one_sentence
from tests.small_run import parse
from tests.small_run import save_images
from vqvae2_tf.errors import UserError
from vqvae2_tf.runs import initial_weights
from vqvae2_tf.runs import networks
from vqvae2_tf.training.devices import open_devices

NAMES = ("autoencoder", "prior_top", "prior_bottom")
# Its weights do not move, or by less than float32 holds.
STILL = ("--freeze=codebook", "--learning_rate=1e-30")


def values(model):
    return {
        k: array(v) for k, v in initial_weights.named_weights(model).items()
    }


def load(run_dir, name):
    return values(keras.saving.load_model(run_dir / name / "model.keras"))


def assert_same(one, other, names=None):
    for name in one.keys() | other.keys() if names is None else names:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def check(config, num_classes=3, begun=()):
    initial_weights.check(config, num_classes, lambda name: name in begun)


def start(config, name, model):
    initial_weights.assign(config, name, model, open_devices("one"))
    return values(model)


def test_codebooks_and_weights_come_along(small_run, capsys):
    config = parse(f"--init_from={small_run.run_dir}")
    model = networks.make_autoencoder(config)
    assert len(values(model)) == len(model.weights)
    assert_same(
        start(config, "autoencoder", model),
        load(small_run.run_dir, "autoencoder"),
    )
    path = small_run.run_dir / "autoencoder" / "model.keras"
    assert capsys.readouterr().out == f"autoencoder: starts from {path}\n"


@pytest.mark.parametrize(
    ("num_classes", "left_out", "shown"),
    [
        (5, {"class_embedding"}, "class_embedding"),
        pytest.param(
            0,
            {"class_embedding", "class_projection"},
            "blocks/0/0/class_projection, class_embedding, "
            "merges/0/class_projection, output_layers/0/class_projection",
            marks=pytest.mark.large,
        ),
        pytest.param(3, set(), "", marks=pytest.mark.large),
    ],
)
def test_a_prior_of_other_classes(
    small_run, capsys, num_classes, left_out, shown
):
    # Only the file of this level's prior.
    path = small_run.run_dir / "prior_top" / "model.keras"
    config = parse(f"--init_from={path}")
    check(config, num_classes)
    model = networks.make_prior(config, 0, num_classes)
    first, there = values(model), load(small_run.run_dir, "prior_top")
    here = start(config, "prior_top", model)
    own = {k for k in first.keys() | there.keys() if {*k.split("/")} & left_out}
    assert_same(here, there, here.keys() - own)
    assert_same(here, first, here.keys() & own)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"prior_top: starts from {path}"
    assert lines[1:] == bool(own) * [
        f"prior_top: {shown} not taken, 3 classes there, {num_classes} here"
    ]


@pytest.mark.parametrize(
    ("source", "arguments", "words"),
    [
        (
            "autoencoder",
            ["--residual_units=3", "--stage=autoencoder"],
            [
                "for encoders/0/residual_stack/inner_convs/0/kernel of "
                "autoencoder, expected the shape (3, 3, 4, 3). Received: the "
                "shape (3, 3, 4, 2) in"
            ],
        ),
        pytest.param(
            "prior_bottom",
            ["--prior_output_layers=1", "--stage=prior", "--level=bottom"],
            [
                "output_layers/0/first_conv/row_kernel of prior_bottom",
                "Received: no such weight",
            ],
            marks=pytest.mark.large,
        ),
    ],
)
def test_other_weights_are_refused_in_a_sentence(
    small_run, source, arguments, words
):
    path = small_run.run_dir / source / "model.keras"
    config = parse(f"--init_from={path}", *arguments)
    with pytest.raises(UserError) as error:
        check(config)
    for word in ("--init_from", str(path), *words):
        assert word in str(error.value)
    # What is begun goes on, and its source is not looked at.
    check(config, begun=NAMES)


@pytest.mark.any_backend
@pytest.mark.large
def test_other_sources_are_refused_in_a_sentence(small_run, tmp_path):
    def refused(source, *arguments, words):
        with pytest.raises(UserError) as error:
            check(parse(f"--init_from={source}", *arguments))
        for word in words:
            assert word in str(error.value)

    run_dir = small_run.run_dir
    flag = f"--init_from={tmp_path}"
    refused(tmp_path, words=[flag, ".keras", "prior_bottom is finished"])
    refused(tmp_path / "a.keras", words=["a.keras cannot be read", "No such"])
    (tmp_path / "b.keras").write_text("no network")
    refused(tmp_path / "b.keras", words=["b.keras cannot be read"])
    other = ["--autoencoder=ms_vqvae", "--freeze=encoder"]
    refused(run_dir, *other, words=["is a VQVAE2. Expected MSVQVAE;"])
    path = run_dir / "autoencoder" / "model.keras"
    refused(
        path,
        *other,
        words=[
            f"--init_from={path}",
            "(MSVQVAE, PixelSNAIL of top, PixelSNAIL of bottom)",
            "Received: VQVAE2",
        ],
    )
    prior = run_dir / "prior_top" / "model.keras"
    refused(prior, "--freeze=decoder", words=["--freeze=decoder needs an"])
    refused(run_dir, f"--run_dir={run_dir}", words=["another run than"])


@pytest.mark.any_backend
def test_what_may_be_frozen():
    with pytest.raises(UserError, match="--freeze needs --init_from"):
        parse("--freeze=encoder")
    with pytest.raises(UserError, match="^--freeze: .*encoder, codebook, deco"):
        parse("--init_from=run", "--freeze=encoders")
    whole = parse("--init_from=run", "--freeze=encoder,codebook,decoder")
    with pytest.raises(UserError, match="--freeze: .* leave weights to train"):
        networks.parameter_counts(whole, 0)


@pytest.mark.any_backend
@pytest.mark.large
def test_a_run_from_a_run(small_run, tmp_path, capsys):
    source = small_run.copy(tmp_path)
    run_dir = tmp_path / "tuned"
    arguments = [f"--init_from={source}", *STILL, "--steps=2"]
    rates = ["--prior_learning_rate=1e-30", "--prior_schedule=constant"]
    arguments += [*rates, "--prior_steps=2"]
    assert small_run.train(run_dir, *arguments) is None
    printed = capsys.readouterr().out
    for name, metric in zip(NAMES[:2], ("mse", "nll"), strict=True):
        assert f"{name}: starts from {source / name}" in printed
        before, after = (
            json.loads((folder / name / "result.json").read_text())
            for folder in (source, run_dir)
        )
        assert after[metric] == pytest.approx(before[metric], rel=1e-6)
        # The averages, too, are those that it started from.
        assert_same(load(run_dir, name), load(source, name))
    config = json.loads((run_dir / "config.json").read_text())
    assert config["init_from"] == str(source)
    assert config["freeze"] == ["codebook"]
    # It goes on without the source, and with the same flags alone.
    shutil.rmtree(source)
    (run_dir / "autoencoder" / "model.keras").unlink()
    assert small_run.train(run_dir, *arguments) is None
    assert "starts from" not in capsys.readouterr().out
    message = small_run.train(run_dir, *arguments, "--freeze=encoder")
    assert_one_sentence(
        message, "--freeze (['codebook'] then, ['encoder'] now)"
    )
    message = small_run.train(run_dir, *arguments, "--init_from=other")
    assert_one_sentence(message, "--init_from (")


@pytest.mark.any_backend
@pytest.mark.large
def test_frozen_parts_of_a_run_stay_and_others_move(small_run, tmp_path):
    source = small_run.run_dir
    run_dir = tmp_path / "tuned"
    arguments = [f"--init_from={source / 'autoencoder' / 'model.keras'}"]
    arguments += ["--stage=autoencoder", "--freeze=encoder,codebook"]
    arguments += ["--dead_code_restart_steps=1"]
    message = small_run.train(run_dir, *arguments, "--code_dim=5")
    assert_one_sentence(message, "--init_from", "(3, 3, 3, 4)", "(3, 3, 5, 4)")
    assert not run_dir.exists()
    assert small_run.train(run_dir, *arguments) is None
    before, after = (load(x, "autoencoder") for x in (source, run_dir))
    for name, value in before.items():
        moves = name.startswith(("decoder", "upsamplers"))
        assert np.array_equal(value, after[name]) != moves, name


@pytest.mark.any_backend
@pytest.mark.large
def test_own_classes_on_priors_of_others(small_run, tmp_path, capsys):
    save_images(tmp_path / "images")
    shutil.rmtree(tmp_path / "images" / "light")
    run_dir = tmp_path / "tuned"
    arguments = [f"--dataset=folder:{tmp_path / 'images'}"]
    arguments += [f"--init_from={small_run.run_dir}"]
    assert small_run.train(run_dir, *arguments) is None
    printed = capsys.readouterr().out
    for name in NAMES[1:]:
        line = "class_embedding not taken, 3 classes there, 2 here\n"
        assert f"{name}: {line}" in printed
    assert (run_dir / "samples.png").exists()

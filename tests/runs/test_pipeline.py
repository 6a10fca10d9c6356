"""The stages of a run: what they write, and how they resume."""

import json
import os
import shutil
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.helpers import array
from tests.small_run import IMAGE_SIZE
from tests.small_run import PRECISION
from tests.small_run import assert_one_sentence
from tests.small_run import call
from tests.small_run import contents
from tests.small_run import full_disk
from tests.small_run import parse
from vqvae2_tf.commands import evaluate
from vqvae2_tf.errors import sentence_for
from vqvae2_tf.files.atomic import replacing
from vqvae2_tf.files.atomic import write_json
from vqvae2_tf.files.lock import lock
from vqvae2_tf.runs.folder import read_config
from vqvae2_tf.runs.pipeline import Run
from vqvae2_tf.training.devices import open_devices
from vqvae2_tf.training.state import STATE_FILE
from vqvae2_tf.training.state import write_arrays
from vqvae2_tf.training.tensorflow import TensorFlowTrainer

RUN = TensorFlowTrainer.run
NETWORKS = ("autoencoder", "prior_top", "prior_bottom")


def interrupted(trainer, count):
    """A trainer's `run`, while which the process is asked to stop."""
    os.kill(os.getpid(), signal.SIGTERM)
    return RUN(trainer, count)


def test_a_run_writes_everything(small_run):
    run = small_run.run_dir
    for name in ("autoencoder", "generator"):
        assert (run / "saved_models" / name / "saved_model.pb").exists()
    for name in NETWORKS:
        assert list((run / name / "logs").glob("events*"))
        for file in ("best.keras", "model.keras", "result.json", STATE_FILE):
            assert (run / name / file).exists()
    with Image.open(run / "samples.png") as samples:
        assert samples.height == 3 * (IMAGE_SIZE[0] + 2) + 2
    with Image.open(run / "reconstructions.png") as reconstructions:
        assert reconstructions.height == 2 * (IMAGE_SIZE[0] + 2) + 2
    config = json.loads((run / "config.json").read_text())
    assert config["steps"] == 4
    assert config["precision"] == PRECISION
    assert not list(run.rglob(".writing*"))


def test_a_finished_run_is_left_as_it_is(small_run, own_run):
    before = contents(own_run)
    assert small_run.train(own_run) is None
    after = contents(own_run)
    # But its folder is written down.
    assert json.loads(after.pop("config.json"))["run_dir"] == str(own_run)
    before.pop("config.json")
    assert after == before


@pytest.mark.large
def test_a_run_that_was_stopped_resumes_to_the_same_end(
    small_run, own_run, monkeypatch, capsys
):
    before = contents(own_run)
    shutil.rmtree(own_run / "prior_bottom")
    with monkeypatch.context() as patch:
        patch.setattr(TensorFlowTrainer, "run", interrupted)
        assert small_run.train(own_run) == 75
    message = capsys.readouterr().err
    assert "prior_bottom: stopped after 2 of 4 steps" in message
    # They depend on the prior.
    for name in ("samples.png", "metrics.json", "saved_models/generator"):
        assert not (own_run / name).exists()
    assert small_run.train(own_run) is None
    after = contents(own_run)
    for name in ("samples.png", "metrics.json", "codes/codes.json"):
        assert after[name] == before[name]


@pytest.mark.large
def test_stages_make_what_the_whole_makes(small_run, tmp_path, capsys):
    # Each stage in a folder that has no more than it needs.
    staged = tmp_path / "staged"
    message = small_run.train(staged, "--stage=codes")
    assert_one_sentence(message, "staged/autoencoder/model.keras", "--stage")
    assert not staged.exists()
    copied = shutil.copytree(small_run.run_dir / "codes", tmp_path / "copied")
    prior = ["--stage=prior", "--dataset=folder:no"]
    for level in ("top", "bottom"):
        stage = [*prior, f"--codes_dir={copied}", f"--level={level}"]
        assert small_run.train(staged, *stage) is None
        made, expected = (
            keras.saving.load_model(run / f"prior_{level}" / "model.keras")
            for run in (staged, small_run.run_dir)
        )
        # Sums may be of another order where threads are.
        for one, other in zip(made.weights, expected.weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    for folder in ("autoencoder", "codes"):
        assert not (staged / folder).exists()
    message = small_run.train(staged, *prior, "--level=top")
    assert_one_sentence(message, "staged/codes is not a folder of extracted")
    assert "prior_top: already finished" not in capsys.readouterr().out


def check_same_weights(name, run_dir, other_dir):
    one, other = (
        keras.saving.load_model(folder / name / "model.keras")
        for folder in (run_dir, other_dir)
    )
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(array(a), array(b), err_msg=a.path)


@pytest.mark.large
def test_an_autoencoder_goes_on_to_more_steps(
    small_run, own_run, tmp_path, capsys
):
    stage, more = "--stage=autoencoder", "--steps=8"
    assert small_run.train(tmp_path / "whole", stage, more) is None
    before = contents(own_run)
    message = small_run.train(own_run, "--stage=codes", more)
    assert_one_sentence(message, f"{own_run}/autoencoder", more)
    assert contents(own_run) == before
    assert small_run.train(own_run, stage, more) is None
    check_same_weights("autoencoder", own_run, tmp_path / "whole")
    config = json.loads((own_run / "config.json").read_text())
    assert config == {**json.loads(before["config.json"]), "steps": 8}
    # The rest is of the autoencoder as it was: a finished run of its own.
    aside, kept = own_run / "steps_4", contents(own_run / "steps_4")
    for name in ("samples.png", "metrics.json", "prior_top/model.keras"):
        assert kept[name] == before[name]
        assert not (own_run / name).exists()
    assert not (own_run / "codes").exists()
    capsys.readouterr()
    assert small_run.train(aside) is None
    assert capsys.readouterr().out.count("already finished") == 3
    # Codes without a prior are only in the way.
    assert small_run.train(own_run, "--stage=codes", more) is None
    assert small_run.train(own_run, stage, "--steps=12") is None
    assert f"{own_run}/codes: removed" in capsys.readouterr().out
    assert not (own_run / "codes").exists()
    assert not (own_run / "steps_8").exists()
    assert call(evaluate, "nll", f"--run_dir={aside}") is None


@pytest.mark.large
def test_an_autoencoder_of_cached_images_is_the_same(
    small_run, own_run, tmp_path
):
    flags = ["--stage=autoencoder", "--cache_images"]
    flags.append(f"--data_dir={tmp_path / 'tfds'}")
    assert small_run.train(tmp_path / "cached", *flags) is None
    # The images have the size already, and so no rounding.
    check_same_weights("autoencoder", tmp_path / "cached", small_run.run_dir)
    message = small_run.train(own_run, *flags)
    assert_one_sentence(message, "--cache_images (False then, True now)")
    (shard,) = (tmp_path / "tfds" / "cached_images").rglob("*.tfrecord")
    shard.write_bytes(shard.read_bytes()[:-1])
    message = small_run.train(tmp_path / "damaged", *flags)
    assert_one_sentence(message, f"{shard.parent}", "remove that folder")


@pytest.mark.large
def test_priors_go_on_to_more_steps(
    small_run, own_run, tmp_path, monkeypatch, capsys
):
    before = contents(own_run)
    more = "--prior_steps=4,8"
    stage = ["--stage=prior", "--level=bottom", more]
    codes = f"--codes_dir={small_run.run_dir / 'codes'}"
    assert small_run.train(tmp_path / "whole", *stage, codes) is None
    with monkeypatch.context() as patch:
        patch.setattr(TensorFlowTrainer, "run", interrupted)
        assert small_run.train(own_run, *stage) == 75
    message = capsys.readouterr().err
    assert "prior_bottom: stopped after 6 of 8 steps" in message
    assert not (own_run / "prior_bottom" / "model.keras").exists()
    assert small_run.train(own_run, more) is None
    check_same_weights("prior_bottom", own_run, tmp_path / "whole")
    after = contents(own_run)
    config = json.loads(after["config.json"])
    assert config["prior_steps"] == [4, 8]
    for name in ("prior_top/model.keras", "codes/codes.json"):
        assert after[name] == before[name]
    assert after["metrics.json"] != before["metrics.json"]


def test_a_loss_that_is_not_finite_ends_with_what_is_kept(
    small_run, own_run, monkeypatch
):
    state = (own_run / "prior_top" / STATE_FILE).read_bytes()
    monkeypatch.setattr(TensorFlowTrainer, "run", lambda *_: (np.nan, {}))
    message = small_run.train(
        own_run, "--stage=prior", "--level=top", "--prior_steps=8,4"
    )
    assert_one_sentence(
        message,
        "the loss of prior_top is nan at step 4; ",
        f"{own_run / 'prior_top'} keeps its state at step 4; ",
        "smaller --prior_learning_rate",
    )
    assert (own_run / "prior_top" / STATE_FILE).read_bytes() == state


def shown_samples(network):
    """Sizes of the images of samples in a network's logs, by their steps."""
    (path,) = (network / "logs").glob("events*")
    shown = {}
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        event = tf.compat.v1.Event.FromString(record)
        for value in event.summary.value:
            if value.tag == "validation/samples":
                _, _, image = value.tensor.string_val
                shown[event.step] = tf.io.decode_png(image).shape
    return shown


@pytest.mark.large
def test_samples_in_training_change_no_weight(small_run, own_run):
    for level in ("top", "bottom"):
        shutil.rmtree(own_run / f"prior_{level}")
        stage = ["--stage=prior", f"--level={level}", "--sample_grid=2"]
        stage.append("--sample_distance=4")
        assert small_run.train(own_run, *stage) is None
        check_same_weights(f"prior_{level}", own_run, small_run.run_dir)
        shown = shown_samples(own_run / f"prior_{level}")
        # One held-out image above one sample, beside their titles.
        assert shown.keys() == {2, 4}
        for height, width, _ in shown.values():
            assert height == 2 * (IMAGE_SIZE[0] + 2) + 2
            assert width > IMAGE_SIZE[1] + 4
    assert not shown_samples(small_run.run_dir / "prior_top")


def test_samples_are_decoded_by_their_own_autoencoder(small_run, own_run):
    config = read_config(str(own_run))
    card = json.loads((own_run / "codes" / "codes.json").read_text())
    devices = open_devices("one")
    decode = Run(config, devices)._decoder_up_to(1, card)
    codes = [np.zeros((2, *level.shape), "int32") for level in config.levels]
    assert decode(codes).shape == (2, *IMAGE_SIZE, 3)
    other = {**card, "fingerprint": "of another"}
    assert Run(config, devices)._decoder_up_to(1, other) is None
    # As where a prior is trained by itself.
    (own_run / "autoencoder" / "model.keras").unlink()
    assert Run(config, devices)._decoder_up_to(1, card) is None


class Source:
    """Stands for ten images to train on."""

    def num_examples(self, split):
        assert split == "train"
        return 10


@pytest.mark.parametrize(
    ("flags", "passes"),
    [
        # 4 * 4 images.
        ((), 2),
        (("--prior_steps=4,6",), 3),
        (("--prior_steps=1",), 1),
        (("--prior_steps=1000",), 10),
        (("--prior_steps=1000", "--code_augment="), 1),
    ],
)
def test_codes_are_drawn_as_often_as_the_priors_see_them(
    tmp_path, flags, passes
):
    config = parse(*flags, "--code_passes=0", f"--run_dir={tmp_path}")
    run = Run(config, None, Source())
    assert run._code_passes(str(tmp_path / "codes")) == passes
    # More steps of a prior need no more codes than there are.
    card = {"splits": {"train": 40, "validation": 1}, "class_names": []}
    card |= {"levels": [x.to_json() for x in config.levels]}
    card |= {"fingerprint": "", "examples_per_shard": 1}
    write_json(str(tmp_path / "codes" / "codes.json"), card)
    assert run._code_passes(str(tmp_path / "codes")) == 4


def test_a_network_without_its_state_cannot_go_on(small_run, own_run):
    (own_run / "prior_top" / STATE_FILE).unlink()
    before = contents(own_run)
    message = small_run.train(own_run, "--prior_steps=8")
    assert_one_sentence(message, f"prior_top/{STATE_FILE}", "--prior_steps")
    assert contents(own_run) == before
    assert small_run.train(own_run) is None


@pytest.mark.large
def test_a_folder_with_wildcards_is_a_runs_like_any_other(small_run, tmp_path):
    folder = tmp_path / "runs [1] *?"
    folder.mkdir()
    run_dir = small_run.copy(folder)
    for name in ("saved_models", "codes", "prior_bottom"):
        shutil.rmtree(run_dir / name)
    (run_dir / "samples.png").unlink()
    assert small_run.train(run_dir) is None
    for name in ("samples.png", "codes/codes.json"):
        made, expected = (r / name for r in (run_dir, small_run.run_dir))
        assert made.read_bytes() == expected.read_bytes()


def test_priors_of_another_autoencoders_codes_are_refused(small_run, own_run):
    card_path = own_run / "codes" / "codes.json"
    card = json.loads(card_path.read_text())
    card_path.write_text(json.dumps({**card, "fingerprint": "another"}))
    both = (card["fingerprint"], "another")
    message = small_run.train(own_run, "--stage=prior", "--level=top")
    assert_one_sentence(message, *both, "prior_top", "remove")
    message = call(evaluate, "nll", f"--run_dir={own_run}")
    assert_one_sentence(message, *both, "--codes_dir", "run/codes")
    assert "remove" not in message
    message = small_run.train(own_run)
    assert_one_sentence(message, *both, "codes.json")


def test_codes_of_other_levels_are_refused(small_run, own_run):
    card_path = own_run / "codes" / "codes.json"
    card = json.loads(card_path.read_text())
    card["levels"][0]["num_codes"] = 7
    card_path.write_text(json.dumps(card))
    message = small_run.train(own_run, "--stage=prior", "--level=top")
    assert_one_sentence(
        message, "top 2x3 of 7 codes", "there", "top 2x3 of 6 codes", "here"
    )


@pytest.mark.parametrize("name", ["model.keras", "result.json"])
def test_damaged_files_of_a_run_are_named(small_run, own_run, name):
    (own_run / "metrics.json").unlink()
    (own_run / "reconstructions.png").unlink()
    (own_run / "autoencoder" / name).write_text("{")
    message = small_run.train(own_run)
    assert_one_sentence(message, f"autoencoder/{name}", "remove")


def test_a_damaged_state_is_named(small_run, own_run):
    prior = own_run / "prior_top"
    (prior / "model.keras").unlink()
    state = (prior / STATE_FILE).read_bytes()
    (prior / STATE_FILE).write_bytes(state[:100])
    message = small_run.train(own_run, "--stage=prior", "--level=top")
    assert_one_sentence(message, f"prior_top/{STATE_FILE}", "remove")


def test_what_another_process_trains_is_left_to_it(small_run, own_run):
    (own_run / "prior_bottom" / "model.keras").unlink()
    before = contents(own_run)
    with lock(str(own_run / "prior_bottom")):
        for changes in ([], ["--temperature=0.5"], ["--overwrite"]):
            message = small_run.train(own_run, *changes)
            assert_one_sentence(message, f"{own_run}/prior_bottom", "process")
            assert contents(own_run) == before


def test_what_another_process_has_just_finished_is_taken(
    small_run, own_run, monkeypatch, capsys
):
    model = own_run / "prior_bottom" / "model.keras"
    trained = model.read_bytes()
    model.unlink()

    class Finishing:
        """A lock that is free once another process has finished."""

        def __init__(self, folder):
            assert folder == str(own_run / "prior_bottom")

        def __enter__(self):
            model.write_bytes(trained)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("vqvae2_tf.runs.pipeline.lock", Finishing)
    stage = ["--stage=prior", "--level=bottom"]
    assert small_run.train(own_run, *stage) is None
    assert "prior_bottom: already finished" in capsys.readouterr().out


def test_a_run_on_a_full_disk_ends_in_a_sentence_and_resumes(small_run):
    assert_one_sentence(small_run.first_try, "disk is full")
    assert (small_run.run_dir / "metrics.json").exists()


def test_a_full_disk_is_recognised_whatever_is_written(small_run, tmp_path):
    path = str(tmp_path / "model.keras")
    model = keras.saving.load_model(
        small_run.run_dir / "autoencoder" / "model.keras"
    )

    def save_model():
        with replacing(path) as temporary:
            model.save(temporary)

    def save_state():
        write_arrays(path, {"weights": np.zeros(5000, "float32")})

    for save in (save_model, save_state):
        errors = (OSError, tf.errors.OpError)
        with full_disk(room=10_000), pytest.raises(errors) as caught:
            save()
        assert "disk is full" in sentence_for(caught.value)
        assert list(tmp_path.iterdir()) == []


def test_a_batch_that_replicas_do_not_share_equally_is_refused(
    small_run, tmp_path, monkeypatch
):
    class Devices:
        count = 3
        accelerator = None

    monkeypatch.setattr(
        "vqvae2_tf.commands.train.open_devices", lambda *_: Devices()
    )
    message = small_run.train(tmp_path / "run")
    assert_one_sentence(message, "--batch_size", "multiple of the 3 devices")
    message = small_run.train(tmp_path / "run", "--batch_size=6")
    assert_one_sentence(message, "--prior_batch_size", "Received: 4")
    message = small_run.train(
        tmp_path / "run",
        "--batch_size=6",
        "--prior_batch_size=6",
        "--prior_accumulation_steps=1,3",
    )
    expected = "3 devices times --prior_accumulation_steps=3"
    assert_one_sentence(message, "--prior_batch_size", expected)
    assert not (tmp_path / "run").exists()

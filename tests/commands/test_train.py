"""The verb that trains: its checks before any work, and its dry run."""

import shutil

import pytest

from tests.small_run import PRECISION
from tests.small_run import assert_one_sentence
from tests.small_run import call
from vqvae2_tf.commands import console
from vqvae2_tf.commands import train
from vqvae2_tf.evaluation.networks import lite0
from vqvae2_tf.runs import folder
from vqvae2_tf.runs.pipeline import Run
from vqvae2_tf.training import precision


def test_a_dry_run_counts_parameters_and_writes_nothing(
    small_run, tmp_path, capsys
):
    assert small_run.train(tmp_path / "dry", "--dry_run") is None
    printed = capsys.readouterr().out
    assert printed.startswith("images: 1")
    assert "3 classes (dark, grey & pale, light)" in printed.splitlines()[0]
    for name in ("autoencoder", "top prior", "bottom prior"):
        assert f"\n{name}: " in printed
    assert '"num_codes": 6' in printed
    # Codes of 2x3 and 4x6 positions for 8x12 pixels of 3 channels.
    assert printed.splitlines()[-1] == (
        "codes: 78 bits an image, 29.7 times fewer than the 2,304 of its pixels"
    )
    assert not (tmp_path / "dry").exists()


@pytest.mark.parametrize("processor", ["amx_bf16", "avx2"])
def test_a_run_goes_on_in_its_precision_on_another_processor(
    small_run, own_run, monkeypatch, capsys, processor
):
    monkeypatch.setattr(precision, "_cpu_flags", processor.split)
    monkeypatch.setattr(Run, "run", lambda run: None)
    assert small_run.train(own_run, "--precision=auto") is None
    line = f"precision: {PRECISION}, as the run in --run_dir began"
    assert line in capsys.readouterr().out.splitlines()
    # But a run that starts again has that of this processor.
    new = ["--precision=auto", "--overwrite"]
    assert small_run.train(own_run, *new) is None
    chosen = folder.read_config(str(own_run)).precision
    assert chosen == ("bfloat16" if processor == "amx_bf16" else "float32")


def test_a_run_begins_with_what_was_found(
    small_run, tmp_path, monkeypatch, capsys
):
    images = shutil.copytree(small_run.folder / "images", tmp_path / "images")
    (images / "dark" / "bad.jpg").write_bytes(b"no image")
    (images / "notes.txt").touch()
    runs = []
    monkeypatch.setattr(Run, "run", lambda run: runs.append(run))
    own = [f"--dataset=folder:{images}", f"--data_dir={tmp_path / 'tfds'}"]
    assert small_run.train(tmp_path / "run", *own) is None
    counts = [
        runs[0]._source.num_examples(split) for split in ("train", "validation")
    ]
    assert sum(counts) == len(list(images.rglob("*.png")))
    first, *others = capsys.readouterr().out.splitlines()
    assert not any(line.startswith("--batch_size") for line in others)
    assert first.startswith(
        f"images: {counts[0]} to train on; {counts[1]} held out; 3 classes"
    )
    assert "1 cannot be decoded: dark/bad.jpg" in first
    assert "not read: 1 .txt" in first
    own += [f"--run_dir={tmp_path / 'other'}", f"--batch_size={counts[0] + 1}"]
    assert small_run.train(tmp_path / "other", *own) is None
    text = capsys.readouterr().out
    assert f"--batch_size={counts[0] + 1}: every batch repeats" in text


def test_a_prior_alone_begins_with_the_codes_that_were_found(
    small_run, own_run, capsys
):
    prior = ["--stage=prior", "--level=top"]
    assert small_run.train(own_run, *prior) is None
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("codes: ")
    assert first.endswith("3 classes (dark, grey & pale, light)")


def test_the_log_is_in_the_folder_of_the_run(small_run, tmp_path, monkeypatch):
    paths = []
    monkeypatch.setattr(console, "keep_log", paths.append)
    monkeypatch.setattr(Run, "run", lambda run: None)
    assert small_run.train(tmp_path / "run") is None
    assert paths == [str(tmp_path / "run" / "log.txt")]
    (tmp_path / "run" / "log.txt").write_text("earlier")
    assert small_run.train(tmp_path / "run", "--overwrite") is None
    assert not (tmp_path / "run" / "log.txt").exists()


def test_a_folder_without_two_images_is_reported(small_run, tmp_path):
    (tmp_path / "images").mkdir()
    own = [f"--dataset=folder:{tmp_path / 'images'}", f"--data_dir={tmp_path}"]
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes(b"")
    message = small_run.train(tmp_path / "run", *own)
    assert_one_sentence(message, "found 0 besides 2", "a.png (", "b.png (")
    assert not (tmp_path / "run").exists()


def test_ffhq_that_is_not_there_is_reported_with_where_to_get_it(tmp_path):
    message = call(
        train,
        "--flagfile=ffhq.flags",
        f"--data_dir={tmp_path}",
        f"--run_dir={tmp_path / 'run'}",
    )
    assert_one_sentence(
        message, "images1024x1024", str(tmp_path), "github.com/NVlabs"
    )
    assert not (tmp_path / "run").exists()


def test_a_distance_of_one_sample_is_refused(small_run, tmp_path):
    message = small_run.train(tmp_path / "run", "--sample_distance=1")
    assert_one_sentence(message, "--sample_distance", "at least 2")
    assert not (tmp_path / "run").exists()


def test_a_distance_needs_its_network(small_run, tmp_path, monkeypatch):
    monkeypatch.setattr(lite0, "_PACKAGE", "not_installed")
    message = small_run.train(tmp_path / "run", "--sample_distance=2")
    assert_one_sentence(message, "lite0", "vqvae2_tf[evaluation]")
    assert not (tmp_path / "run").exists()

"""Data sets by their names."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from vqvae2_tf.data.source import open_source
from vqvae2_tf.errors import UserError


def test_the_packages_own_data_set_needs_no_download(tmp_path):
    source = open_source("emoji64", str(tmp_path))
    assert not source.builder.is_prepared()
    source.prepare()
    assert source.builder.is_prepared()
    assert source.num_examples("train") == 1677
    assert source.num_examples("validation") == 193
    assert len(source.class_names) == 9
    labels = [example["label"] for example in source.examples("train")]
    assert (np.bincount(labels, minlength=9) > 0).all()


def test_an_unknown_data_set_is_reported_with_the_nearest_name():
    with pytest.raises(UserError, match="emoji64"):
        open_source("emogi64")


def test_a_folder_without_its_prefix_is_pointed_out(tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path / "pictures"), "pictures", "./pictures/"):
        with pytest.raises(UserError) as caught:
            open_source(name)
        assert f"Did you mean --dataset=folder:{name}?" in str(caught.value)


def test_without_a_home_folder_data_dir_has_to_be_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        tfds.core.constants, "DATA_DIR", "~/tensorflow_datasets"
    )
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(UserError, match="--data_dir"):
        open_source("emoji64")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    open_source("emoji64", str(folder)).prepare()
    return folder


@pytest.fixture
def shard(prepared, tmp_path):
    """A shard of a prepared data set of its own."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    (path,) = tmp_path.rglob("*train.tfrecord*")
    return path


def test_a_missing_shard_is_reported_with_what_to_remove(shard, tmp_path):
    shard.unlink()
    with pytest.raises(UserError, match="is missing; remove") as caught:
        open_source("emoji64", str(tmp_path)).prepare()
    assert f"remove {shard.parent}," in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "emptied", "changed"])
def test_a_damaged_shard_is_reported_with_what_to_remove(
    shard, tmp_path, damage
):
    data = shard.read_bytes()
    half = len(data) // 2
    shard.write_bytes(
        {
            "cut": data[:half],
            "emptied": b"",
            "changed": data[:half] + b"?" + data[half + 1 :],
        }[damage]
    )
    source = open_source("emoji64", str(tmp_path))
    source.prepare()
    with (
        pytest.raises(UserError, match="is damaged") as caught,
        source.damage_reported(),
    ):
        list(source.examples("train"))
    assert f"{shard.parent} is damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_processes_prepare_one_data_set_once(tmp_path):
    script = (
        "import sys; from vqvae2_tf.data.source import open_source\n"
        f"source = open_source('emoji64', {str(tmp_path)!r})\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "source.prepare(); print(source.num_examples('train'))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    # Both have found it unprepared.
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    printed = [process.communicate()[0].split()[-1] for process in both]
    assert printed == ["1677", "1677"]

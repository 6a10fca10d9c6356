"""Classification Accuracy Scores: what is trained on, measured and split."""

import csv
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
from PIL import Image

from tests.helpers import normal
from tests.runs.test_inputs import pixels
from tests.runs.test_inputs import read_all
from tests.small_run import CLASSES
from tests.small_run import assert_one_sentence
from tests.small_run import call
from tests.small_run import contents
from tests.small_run import save_images
from vqvae2_tf.commands import sample
from vqvae2_tf.errors import UserError
from vqvae2_tf.runs import inputs

PATH = pathlib.Path(__file__).parents[2] / "experiments" / "cas.py"
SPEC = importlib.util.spec_from_file_location("cas", PATH)
cas = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(cas)

FOLDERS = ["0_dark", "1_grey_pale", "2_light"]


def options(**values):
    defaults = {"image_size": [0, 0], "batch_size": 4, "seed": 3, "flip": True}
    return types.SimpleNamespace(**{**defaults, **values})


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_best_classes_are_those_of_a_sort(k):
    logits = normal(40, 6)
    labels = np.arange(40) % 6
    best = np.argsort(-logits, axis=1)[:, :k]
    expected = [label in row for label, row in zip(labels, best, strict=True)]
    found = cas.is_among_best(logits, labels, k)
    assert found.tolist() == expected
    # A classifier that says nothing is right about nothing.
    for same in (0.0, np.nan):
        logits = np.full((3, 6), same)
        assert not cas.is_among_best(logits, np.arange(3), 5).any()


def test_the_loss_is_split_between_decoder_and_prior():
    rng = np.random.default_rng(0)
    correct = {
        (trained_on, tested_on): rng.random(50) < 0.5
        for trained_on in ("real", "reconstructions", "samples")
        for tested_on in ("real", "reconstructions")
    }
    for tested_on in ("real", "reconstructions"):
        first = correct["real", "real"].astype(float)
        middle = correct["reconstructions", tested_on].astype(float)
        last = correct["samples", tested_on].astype(float)
        found = cas.shares(correct, tested_on)
        assert found["decoder"][0] == pytest.approx(np.mean(first - middle))
        assert found["prior"][0] == pytest.approx(np.mean(middle - last))
        # Of the same images, whose difficulty is in both.
        error = np.sqrt(np.mean((middle - last - found["prior"][0]) ** 2) / 50)
        assert found["prior"][1] == pytest.approx(error)
        total = found["decoder"][0] + found["prior"][0]
        assert total == pytest.approx(first.mean() - last.mean())
    del correct["reconstructions", "real"]
    assert cas.shares(correct, "real") == {}
    assert len(list(cas.describe(correct))) == 1


def test_classes_have_their_own_accuracies():
    correct = {("real", "real"): np.array([True, False, True])}
    table = cas.per_class(correct, np.array([0, 0, 2]), ["a", "b", "c"])
    assert list(table) == [
        ["class", "n", "real/real"],
        ["a", 2, "0.5000"],
        ["b", 0],
        ["c", 1, "1.0000"],
    ]


def test_each_epoch_has_every_image_once_in_an_order_of_the_seed(tmp_path):
    images = pixels(6, 8, 16, 3)
    paths = [str(tmp_path / f"{i}.png") for i in range(6)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)

    def two_epochs(paths, **values):
        batches = cas.training_batches(
            paths, np.arange(6), (8, 16), options(**values)
        )
        found = [(x.numpy(), y.numpy()) for x, y in batches.take(3)]
        return tuple(map(np.concatenate, zip(*found, strict=True)))

    found, labels = two_epochs(paths)
    assert sorted(labels[:6]) == sorted(labels[6:]) == list(range(6))
    assert labels[:6].tolist() != labels[6:].tolist()
    again, _ = two_epochs(paths)
    np.testing.assert_array_equal(found, again)
    # Other images of the same classes come in the same order.
    _, others = two_epochs(paths[::-1])
    np.testing.assert_array_equal(labels, others)
    assert two_epochs(paths, seed=4)[1].tolist() != labels.tolist()
    # Each is one of the 3 * 5 crops of the padded image, or its mirror image.
    flipped = 0
    for image, label in zip(found, labels, strict=True):
        whole = images[label] / np.float32(127.5) - 1
        padded = np.pad(whole, [(1, 1), (2, 2), (0, 0)])
        crops = [
            padded[i : i + 8, j : j + 16] for i in range(3) for j in range(5)
        ]
        kept = any(np.allclose(image, crop) for crop in crops)
        mirrored = any(np.allclose(image, crop[:, ::-1]) for crop in crops)
        assert kept or mirrored
        flipped += mirrored
    assert 0 < flipped < 12


def test_the_learning_rate_rises_and_falls_and_weights_decay():
    optimizer = cas.optimizer_of(0.4, 36)
    rates = [float(optimizer._learning_rate(i)) for i in range(37)]
    assert rates[:3] == pytest.approx([0.0, 0.2, 0.4])
    half = np.cos(np.pi * np.arange(35) / 34) / 2 + 0.5
    np.testing.assert_allclose(rates[2:], 0.4 * half, atol=1e-6)
    kernel = keras.Variable([2.0], name="kernel")
    bias = keras.Variable([2.0], name="bias")
    for _ in range(3):
        optimizer.apply([np.zeros(1, "float32")] * 2, [kernel, bias])
    decayed = 2.0 * (1 - 0.2e-3) * (1 - 0.4e-3)
    assert float(kernel[0]) == pytest.approx(decayed, rel=1e-6)
    assert float(bias[0]) == 2.0


def test_a_folder_s_classes_are_found_by_their_names(tmp_path):
    save_images(tmp_path / "named", count=2)
    images = inputs.open_input(f"folder:{tmp_path / 'named'}")
    order = ["light", "none", "grey & pale", "dark"]
    cas.write_images(str(tmp_path / "written"), images, order)
    paths, labels = cas.list_images(str(tmp_path / "written"))
    assert labels.tolist() == [0, 0, 2, 2, 3, 3]
    expected = [images.read(i, 1)[0][0] for i in (4, 5, 2, 3, 0, 1)]
    for path, image in zip(paths, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image)
    # So they are by the names that these files have now; and files that are
    # missing are written again.
    pathlib.Path(paths[1]).unlink()
    cas.write_images(str(tmp_path / "written"), images, order)
    written = inputs.open_input(f"folder:{tmp_path / 'written/images'}")
    assert cas.labels_of(written, order) == [0, 2, 3]
    assert written.count == 6
    with pytest.raises(UserError, match="--samples: .*Received: dark"):
        cas.labels_of(images, ["light", "grey & pale"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trained_on=real,nothing"], ["--trained_on", "'nothing'"]),
        (["--trained_on="], ["--trained_on: expected some of real"]),
        (["--image_size=8"], ["--image_size: expected HEIGHT,WIDTH"]),
        (["--run_dir=nowhere"], ["--run_dir=nowhere is not the folder"]),
    ],
)
def test_mistakes_are_told_in_one_sentence(tmp_path, arguments, words):
    line = ["--run_dir=x", f"--output={tmp_path / 'cas'}", *arguments]
    assert_one_sentence(call(cas, *line), *words)
    assert not (tmp_path / "cas").exists()


def test_classifiers_are_found_by_name(monkeypatch):
    monkeypatch.setattr(cas.sys, "path", list(cas.sys.path))
    make = cas.find_classifier("tests.toy_classifier", (8, 12), 3)
    assert make((8, 12), 3).output_shape == (None, 3)
    for name in ("nothing", "ablate", "no.thing"):
        with pytest.raises(UserError, match=f"--classifier={name}: expected"):
            cas.find_classifier(name, (8, 8), 3)
    with pytest.raises(UserError, match="--classifier=resnet50: .*32x32"):
        cas.find_classifier("resnet50", (8, 8), 3)


@pytest.mark.large
def test_classifiers_learn_from_all_sets(tmp_path, small_run, capsys):
    arguments = [
        f"--run_dir={small_run.run_dir}",
        f"--output={tmp_path / 'cas'}",
        "--classifier=tests.toy_classifier",
        *("--epochs=40", "--batch_size=4", "--learning_rate=1"),
    ]
    # First of real images alone, then of all.
    assert call(cas, *arguments, "--trained_on=real") is None
    first = contents(tmp_path / "cas" / "classifiers")
    assert list(first) == ["real/card.json", "real/classifier.keras"]
    assert not (tmp_path / "cas/train/samples").exists()
    (tmp_path / "cas/metrics.jsonl").unlink()
    capsys.readouterr()
    assert call(cas, *arguments) is None
    later = contents(tmp_path / "cas" / "classifiers")
    assert {name: later[name] for name in first} == first
    assert len(later) == 8

    # Real images are the run's, the others what its networks make of them.
    run = f"run:{small_run.run_dir}"
    reconstruct = inputs.reconstruction(inputs.open_autoencoder(run))
    for split, name in (("train", "train"), ("held_out", "validation")):
        real, labels = read_all(inputs.open_input(f"{run}@{name}"))
        paths, found = cas.list_images(str(tmp_path / "cas" / split / "real"))
        assert found.tolist() == sorted(labels)
        order = np.argsort(labels, kind="stable")
        images = np.stack([np.asarray(Image.open(path)) for path in paths])
        np.testing.assert_array_equal(images, real[order])
        target = str(tmp_path / "cas" / split / "reconstructions")
        paths, found = cas.list_images(target)
        assert found.tolist() == sorted(labels)
        restored = np.stack([np.asarray(Image.open(path)) for path in paths])
        np.testing.assert_array_equal(restored, reconstruct(images))
    drawn = tmp_path / "drawn"
    counts = np.bincount(read_all(inputs.open_input(f"{run}@train"))[1])
    line = [f"--run_dir={small_run.run_dir}", f"--output={drawn}"]
    assert call(sample, *line, f"--count={max(counts)}") is None
    samples = contents(tmp_path / "cas/train/samples/images")
    expected = contents(drawn / "images")
    assert samples == {name: expected[name] for name in samples}
    assert sorted(samples) == [
        f"{name}/{i:06}.png"
        for name, count in zip(FOLDERS, counts, strict=True)
        for i in range(count)
    ]

    # Dark, grey and light images are easily told apart.
    lines = (tmp_path / "cas/metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    top1 = {
        (row["trained_on"], row["tested_on"]): row["value"]
        for row in rows
        if row["name"] == "cas_top1"
    }
    assert len(top1) == 8
    assert top1["real", "real"] == 1.0
    assert {row["name"] for row in rows} == {
        *("cas_top1", "cas_decoder", "cas_prior"),
    }
    shares = {
        (row["name"], row["tested_on"]): row["value"]
        for row in rows
        if row["name"] != "cas_top1"
    }
    for tested_on in ("real", "reconstructions"):
        assert 1.0 - top1["samples", tested_on] == pytest.approx(
            shares["cas_decoder", tested_on] + shares["cas_prior", tested_on]
        )
    with open(tmp_path / "cas/per_class.csv", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["class"] for row in table] == list(CLASSES)
    assert all(row["real/real"] in ("1.0000", None) for row in table)
    printed = capsys.readouterr().out
    assert "real_and_samples  reconstructions" in printed
    assert printed.count("of samples") == 2

    # Another recipe is told, and samples of a folder are taken.
    message = call(cas, *arguments, "--epochs=3")
    assert_one_sentence(message, "epochs (40 then, 3 now)", "--output")
    arguments[1] = f"--output={tmp_path / 'other'}"
    given = f"--samples=folder:{drawn / 'images'}"
    assert call(cas, *arguments, "--trained_on=samples", given) is None
    found = contents(tmp_path / "other/train/samples/images")
    assert found == expected


@pytest.mark.large
def test_runs_without_classes_are_refused(tmp_path, own_run):
    config = json.loads((own_run / "config.json").read_text())
    config["dataset"] = f"folder:{tmp_path / 'one'}"
    save_images(tmp_path / "all", count=2)
    (tmp_path / "all" / CLASSES[0]).rename(tmp_path / "one")
    (own_run / "config.json").write_text(json.dumps(config))
    line = [f"--run_dir={own_run}", f"--data_dir={tmp_path / 'data'}"]
    message = call(cas, *line, f"--output={tmp_path / 'cas'}")
    assert_one_sentence(message, "--run_dir", "images of classes")
    assert not (tmp_path / "cas").exists()


def test_the_script_shows_no_words_of_others(tmp_path):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        [sys.executable, str(PATH), f"--run_dir={tmp_path}", "--output=x"],
        env=environment | {"PYTHONPATH": str(PATH.parents[1])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert_one_sentence(result.stderr.strip(), str(tmp_path))

"""Near-duplicates across the split."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from tests.commands.evaluations.test_neighbours import write_images
from tests.commands.evaluations.written import rows
from tests.small_run import assert_one_sentence
from tests.small_run import call
from vqvae2_tf.commands import evaluate

TRAIN = rows(0, 30)
HELD_OUT = rows(1, 20)
# Training images of which the held-out ones 4 and 11 are nearly copies.
HELD_OUT[4] = TRAIN[7] + 0.03
HELD_OUT[11] = TRAIN[3] + 0.02
RNG = np.random.default_rng(0)
TRAIN_PIXELS = RNG.integers(256, size=(30, 4, 6, 3), dtype="u1")
HELD_OUT_PIXELS = RNG.integers(256, size=(20, 4, 6, 3), dtype="u1")


def test_pairs_are_listed_and_shown(tmp_path, capsys):
    train = write_images(tmp_path / "train", TRAIN_PIXELS, TRAIN)
    held_out = write_images(tmp_path / "held_out", HELD_OUT_PIXELS, HELD_OUT)
    output, results = tmp_path / "out", tmp_path / "metrics.jsonl"
    arguments = [
        f"--train={train}",
        f"--held_out={held_out}",
        f"--output={output}",
        f"--results={results}",
        "--count=3",
    ]
    assert call(evaluate, "duplicates", *arguments, "--threshold=0.2") is None
    printed = capsys.readouterr().out
    assert "2 of 20 held-out images have one or more of 2 training" in printed
    off = HELD_OUT[:, None].astype("float64") - TRAIN
    lengths = np.sqrt(np.sum(off**2, axis=2))
    lengths /= np.median(lengths.min(axis=1))
    with open(output / "duplicates.csv", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [
        (int(x["held_out"]), int(x["train"]), x["held_out_name"]) for x in lines
    ] == [(11, 3, "11.png"), (4, 7, "04.png")]
    assert [line["train_name"] for line in lines] == ["03.png", "07.png"]
    assert [float(line["distance"]) for line in lines] == pytest.approx(
        [lengths[11, 3], lengths[4, 7]], rel=1e-6
    )
    with Image.open(output / "duplicates.png") as image:
        picture = np.asarray(image)
    # A row a pair, the closest first, and one that is no duplicate.
    assert len(picture) == 2 + 3 * (4 + 2)
    i = np.argsort(lengths.min(axis=1))[2]
    shown = [(11, 3), (4, 7), (i, lengths[i].argmin())]
    for row, (one, other) in enumerate(shown):
        tiles = picture[2 + 6 * row :, -16:][:4]
        np.testing.assert_array_equal(tiles[:, :6], HELD_OUT_PIXELS[one])
        np.testing.assert_array_equal(tiles[:, 8:14], TRAIN_PIXELS[other])
    (row,) = map(json.loads, results.read_text().splitlines())
    assert (row["name"], row["value"]) == ("near_duplicates", 0.1)
    assert (row["n"], row["reference_n"], row["pairs"]) == (20, 30, 2)
    # At distances of more than twice the median all pairs of some are.
    assert call(evaluate, "duplicates", *arguments, "--threshold=1") is None
    with open(output / "duplicates.csv", encoding="utf-8") as file:
        assert len(list(file)) - 1 == np.sum(lengths <= 1)


def test_images_of_another_size_are_refused(tmp_path):
    train = write_images(tmp_path / "train", TRAIN_PIXELS, TRAIN)
    held_out = write_images(
        tmp_path / "held_out", HELD_OUT_PIXELS[:, :3], HELD_OUT
    )
    message = call(
        evaluate,
        "duplicates",
        f"--train={train}",
        f"--held_out={held_out}",
        f"--output={tmp_path / 'out'}",
    )
    assert_one_sentence(message, "--held_out", "(4, 6)", "Received: (3, 6)")
    assert not (tmp_path / "out").exists()

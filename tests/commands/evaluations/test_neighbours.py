"""The picture of samples and their neighbours, and memorization."""

import json

import numpy as np
from PIL import Image

from tests.commands.evaluations.written import rows
from tests.commands.evaluations.written import write
from tests.small_run import assert_one_sentence
from tests.small_run import call
from vqvae2_tf.commands import evaluate
from vqvae2_tf.runs import inputs

TRAIN = rows(0, 30)
HELD_OUT = rows(1, 20)
PIXELS = np.random.default_rng(0).integers(256, size=(30, 4, 6, 3), dtype="u1")
# Copies of training images by their features, and of others by their pixels.
COPIED, SHOWN = np.array([7, 3, 12, 1]), np.array([2, 9, 0, 28])


def write_images(folder, pixels, features):
    """A folder of images and one of their features."""
    folder.mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i:02}.png")
    text = f"folder:{folder}"
    return write(
        folder.with_name(f"{folder.name}_features"),
        {"features": features},
        input=text,
        images=inputs.open_input(text).identity,
        image_size=list(pixels.shape[1:3]),
    )


def test_the_nearest_are_shown_by_features_and_by_pixels(tmp_path, capsys):
    near = TRAIN[COPIED] + 1e-3 * rows(4, 4)
    results = tmp_path / "metrics.jsonl"
    arguments = [
        f"--samples={write_images(tmp_path / 's', PIXELS[SHOWN], near)}",
        f"--originals={write_images(tmp_path / 'o', PIXELS, TRAIN)}",
        f"--held_out={write(tmp_path / 'held_out', {'features': HELD_OUT})}",
        f"--output={tmp_path / 'near.png'}",
        f"--results={results}",
        "--neighbours=2",
    ]
    assert call(evaluate, "neighbours", *arguments) is None
    lines = capsys.readouterr().out.splitlines()
    for i in range(4):
        by_features, by_pixels = lines[2 * i : 2 * i + 2]
        assert f"sample {i} by features: {COPIED[i]} (" in by_features
        assert f"sample {i} by pixels: {SHOWN[i]} (0)" in by_pixels
    with Image.open(tmp_path / "near.png") as image:
        picture = np.asarray(image)
    # The last row: a sample and its copy by pixels, and another image.
    tiles = [picture[-6:-2, -24 + 8 * i :][:, :6] for i in range(3)]
    np.testing.assert_array_equal(tiles[0], PIXELS[28])
    np.testing.assert_array_equal(tiles[1], PIXELS[28])
    assert (tiles[2] != tiles[1]).any()
    (row,) = map(json.loads, results.read_text().splitlines())
    assert (row["name"], row["value"]) == ("nearer", 1.0)
    assert row["z"] > 3
    assert (row["n"], row["reference_n"], row["held_out_n"]) == (4, 30, 20)
    assert max(row["distances"]) < 0.01 < min(row["held_out_distances"])


def test_images_that_are_no_longer_there_are_reported(tmp_path):
    samples = write_images(tmp_path / "s", PIXELS[:2], TRAIN[:2])
    originals = write_images(tmp_path / "o", PIXELS, TRAIN)
    arguments = [f"--samples={samples}", f"--output={tmp_path / 'near.png'}"]
    given = f"--originals={originals}"
    message = call(evaluate, "neighbours", *arguments, given, "--neighbours=31")
    assert_one_sentence(message, "--originals", "at least 31", "Received: 30")
    (tmp_path / "o" / "00.png").rename(tmp_path / "o" / "99.png")
    message = call(evaluate, "neighbours", *arguments, given)
    assert_one_sentence(message, "--originals", "no longer those")
    restored = write(
        tmp_path / "restored",
        {"features": TRAIN},
        reconstructed_by="0a",
        image_size=[4, 6],
    )
    message = call(
        evaluate, "neighbours", *arguments, f"--originals={restored}"
    )
    assert_one_sentence(message, "--originals", "those of reconstructions")

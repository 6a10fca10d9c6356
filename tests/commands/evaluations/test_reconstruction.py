"""`vqvae2 evaluate reconstruction`: the crops that went in, and no others."""

import json

import numpy as np
import pytest

from tests.runs.test_inputs import read_all
from tests.small_run import assert_one_sentence
from tests.small_run import call
from vqvae2_tf.commands import evaluate
from vqvae2_tf.runs.inputs import open_autoencoder
from vqvae2_tf.runs.inputs import open_input
from vqvae2_tf.runs.inputs import reconstruction


@pytest.mark.large
def test_results_are_of_the_runs_held_out_images(tmp_path, small_run):
    run = f"run:{small_run.run_dir}"
    output = tmp_path / "metrics.jsonl"
    arguments = [f"--run_dir={small_run.run_dir}", f"--output={output}"]
    for more in ([], [f"--input={run}@train", "--batch_size=4", "--count=5"]):
        assert call(evaluate, "reconstruction", *arguments, *more) is None
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    # Eight pixels are too few for SSIM.
    assert [row["name"] for row in rows] == ["mse", "psnr"] * 2
    reconstruct = reconstruction(open_autoencoder(run))
    for split, own, n in (
        ("validation", rows[:2], None),
        ("train", rows[2:], 5),
    ):
        images, _ = read_all(open_input(f"{run}@{split}", count=n))
        mse = np.mean((images / 255 - reconstruct(images) / 255) ** 2)
        assert own[0]["value"] == pytest.approx(mse, rel=1e-6)
        assert own[1]["value"] == pytest.approx(-10 * np.log10(mse), rel=1e-6)
        assert {row["n"] for row in own} == {len(images)}
        assert {row["reference"] for row in own} == {f"{run}@{split}"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--saved_model=x"], ["--input must be given"]),
        (["--run_dir=x", "--saved_model=x"], ["either --run_dir"]),
        (["--run_dir=nowhere"], ["--run_dir=nowhere: there is no such"]),
    ],
)
def test_mistakes_are_told_in_one_sentence(tmp_path, arguments, words):
    output = f"--output={tmp_path / 'metrics.jsonl'}"
    message = call(evaluate, "reconstruction", output, *arguments)
    assert_one_sentence(message, *words)

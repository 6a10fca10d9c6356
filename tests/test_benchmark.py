"""The benchmark's report, and its ratios against another program."""

import json
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.any_backend

ROOT = pathlib.Path(__file__).parent.parent


def run(*arguments):
    return subprocess.run(
        [sys.executable, "tools/benchmark.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_stage1_is_timed_and_compared(tmp_path):
    peer = {"train_images_per_s": 1e-3, "decode_images_per_s": 1e9}
    (tmp_path / "peer.json").write_text(json.dumps({"rows": [peer]}))
    result = run(
        "stage1",
        "--image_sizes=8",
        "--batch_sizes=2",
        "--repeats=1",
        "--rounds=1",
        f"--against=cat {tmp_path / 'peer.json'}",
    )
    assert result.returncode == 0, result.stderr[-2000:]
    report = json.loads(result.stdout)
    (row,) = report["rows"]
    assert (row["image_size"], row["batch_size"]) == (8, 2)
    assert row["train_images_per_s"] == pytest.approx(2 / row["train_step_s"])
    (ratios,) = report["times_as_fast"]
    assert ratios["train_images_per_s"] == pytest.approx(
        1e3 * row["train_images_per_s"]
    )
    assert ratios["decode_images_per_s"] < 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stage3"], "usage"),
        (["stage1", "--batch_sizes=1,2"], "--batch_sizes"),
    ],
)
def test_bad_arguments_are_told(arguments, words):
    result = run(*arguments, "--image_sizes=8")
    assert result.returncode != 0
    assert words in result.stderr.strip().splitlines()[-1]

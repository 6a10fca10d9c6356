"""The benchmark's report, and its ratios against another program."""

import importlib
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from absl.flags import FLAGS
from absl.testing import flagsaver

from vqvae2_tf.priors import PixelSNAIL

pytestmark = pytest.mark.any_backend

ROOT = pathlib.Path(__file__).parents[2]


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


TOP = {
    "map_size": (2, 3),
    "hidden_units": 8,
    "residual_units": 4,
    "num_layers": 2,
    "attention_every": 1,
    "num_classes": 3,
}
BOTTOM = {
    **TOP,
    "map_size": (4, 6),
    "attention_every": 0,
    "coarser_map_sizes": ((2, 3),),
    "num_conditioning_blocks": 1,
    "conditioning_units": 4,
}


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    before = set(FLAGS)
    module = importlib.import_module("benchmark")
    yield module
    # Other scripts, tested in the same process, have flags of these names.
    for flag in set(FLAGS) - before:
        delattr(FLAGS, flag)
    del sys.modules["benchmark"]


def test_training_of_priors_is_timed(benchmark, monkeypatch):
    monkeypatch.setitem(benchmark.paper.PRIORS, "ffhq", (TOP, BOTTOM))
    with flagsaver.flagsaver(paper_size="ffhq", rematerialize=True, repeats=1):
        FLAGS(["benchmark.py"])
        (row,) = benchmark.measure_prior()
    assert row["train_codes_per_s"] == pytest.approx(6 / row["train_step_s"])
    assert row["parameters"] > 0
    assert 0.01 < row["peak_gib"] < 1000


def test_sampling_is_timed_beside_its_forward_pass(benchmark):
    row = benchmark.sampling({**TOP, "num_classes": 0}, 2, 1)
    assert row["seconds_per_image"] == pytest.approx(row["sample_s"] / 2)
    assert row["seconds_per_position"] == pytest.approx(row["sample_s"] / 6)
    assert row["times_naive"] == pytest.approx(
        6 * row["forward_s"] / row["sample_s"]
    )
    assert row["naive_s"] == pytest.approx(6 * row["forward_s"])


def test_priors_are_those_of_the_flags(benchmark, monkeypatch):
    timed = []
    monkeypatch.setattr(
        benchmark, "sampling", lambda *arguments: timed.append(arguments)
    )
    flags = ["--map_sizes=8,4", "--hidden_units=6", "--layers=3,2"]
    flags += ["--attention_every=0,1", "--batch_sizes=1,5", "--repeats=7"]
    with flagsaver.flagsaver():
        FLAGS(["benchmark.py", *flags])
        benchmark.measure_sampling()
    expected = [
        {
            "map_size": (size, size),
            "hidden_units": 6,
            "residual_units": 6,
            "num_layers": layers,
            "attention_every": every,
        }
        for size, layers, every in ((8, 3, 0), (4, 2, 1))
    ]
    assert timed == [(p, batch, 7) for p in expected for batch in (1, 5)]


def test_priors_of_all_levels_and_the_decoder_are_timed(benchmark):
    stage1 = {"image_size": 24, "strides": (4, 2)}
    row = benchmark.paper_sampling((TOP, BOTTOM), stage1, 2, 1)
    assert row["seconds_per_image"] == pytest.approx(
        (row["sample_s"] + row["decode_s"]) / 2
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stage3"], "usage"),
        (["stage1", "more"], "usage"),
        (["stage1", "--batch_sizes=1,2"], "--batch_sizes"),
        (["prior", "--batch_sizes=1"], "--batch_sizes.*expected 2"),
        (["sampling", "--batch_sizes=one"], "--batch_sizes.*one"),
        (["sampling", "--layers=1,2,3"], "--layers.*3 for 2"),
        (["prior", "--hidden_units=0"], "--hidden_units.*at least 1"),
        (["stage1", "--batch_sizes=0"], "--batch_sizes.*at least 1"),
        (["stage1", "--against=no-such-program"], "--against=no-such-program"),
        (["stage1", "--against=echo"], "--against=echo: expected JSON"),
    ],
)
def test_bad_arguments_are_told(benchmark, arguments, words):
    with flagsaver.flagsaver(), pytest.raises(SystemExit, match=words):
        flags = ["--image_sizes=8", "--repeats=1"]
        benchmark.main(FLAGS(["benchmark.py", *arguments, *flags]))


def test_compiled_functions_see_new_weights(benchmark):
    prior = PixelSNAIL((2, 3), 5, 8, 4, 1, 0, num_heads=2)
    prior.build((None, 2, 3))
    compiled = importlib.import_module("benchmarks.timing").compiled
    codes = np.zeros((1, 2, 3), "int32")
    forward = compiled(lambda codes: prior(codes), [prior])
    before = np.asarray(forward(codes))
    bias = prior.logits.bias
    bias.assign(bias + 1.0)
    # Weights in the program itself would be those of the first call.
    np.testing.assert_allclose(forward(codes), before + 1.0, atol=1e-5)

"""The benchmark's networks, its report, and its ratios to another program."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import benchmark
import timing
from vqvae2_tf.commands import cli
from vqvae2_tf.errors import UserError
from vqvae2_tf.flags import expand_flagfiles
from vqvae2_tf.level import Level
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.sampling import sample

pytestmark = pytest.mark.any_backend

ROOT = pathlib.Path(__file__).parents[2]
TINY = [
    "--image_size=8,12",
    "--strides=2,2",
    "--hidden_units=4",
    "--residual_units=2",
    "--num_codes=5",
    "--code_dim=3",
    "--prior_hidden_units=8",
    "--prior_residual_units=4",
    "--prior_layers=2",
    "--prior_attention_every=1,0",
    "--prior_heads=2",
    "--prior_conditioning_blocks=1",
    "--prior_conditioning_units=4",
    "--num_classes=3",
    "--batch_sizes=2",
    "--repeats=1",
]


def report(capsys, *arguments):
    """The report that the benchmark prints."""
    cli.run(benchmark.main, arguments)
    return json.loads(capsys.readouterr().out)


def test_speeds_are_compared_in_turn(monkeypatch, capsys, tmp_path):
    speeds = iter([1.0, 4.0, 2.0, 10.0])
    network = keras.Sequential([keras.Input((1,)), keras.layers.ReLU()])

    def timed(config, batch_size):
        row = {"image_size": config.image_size, "sample_s": 5.0}
        yield network, row | {"train_images_per_s": next(speeds)}

    monkeypatch.setitem(benchmark.JOBS, "stage1", timed)
    peer = tmp_path / "peer.json"
    rows = [{"train_images_per_s": 2.0}, {"train_images_per_s": 0.5}]
    peer.write_text(json.dumps({"rows": rows}))
    printed = report(
        capsys,
        "stage1",
        *TINY,
        "--batch_sizes=2,4",
        "--rounds=2",
        f"--against=cat {peer}",
    )
    assert printed["backend"] == keras.backend.backend()
    assert printed["devices"]
    assert printed["rows"] == [
        {
            "network": "Sequential",
            "batch_size": batch_size,
            "parameters": 0,
            "image_size": [8, 12],
            "sample_s": 5.0,
            "train_images_per_s": speed,
        }
        for batch_size, speed in ((2, 1.5), (4, 7.0))
    ]
    assert printed["peer_rows"] == rows
    ratios = [row["train_images_per_s"] for row in printed["times_as_fast"]]
    assert ratios == [0.75, 14.0]


def test_without_networks_the_flags_are_those_of_small_ones():
    configs = list(benchmark.configurations("stage1", ["--num_codes=7"]))
    sizes = [(c.image_size, c.batch_sizes) for c in configs]
    assert sizes == [((64, 64), [32]), ((128, 128), [16]), ((256, 256), [8])]
    assert {c.num_codes for c in configs} == {7}
    for job, batch_sizes in (
        ("prior", [[8], [2]]),
        ("sampling", [[1, 16]] * 2),
    ):
        configs = list(benchmark.configurations(job, []))
        levels = [config.levels for config in configs]
        assert levels == [[Level("top", n, n, 512)] for n in (16, 32)]
        assert [config.batch_sizes for config in configs] == batch_sizes


@pytest.mark.parametrize("job", benchmark.JOBS)
def test_the_networks_of_a_flagfile_replace_the_small_ones(job):
    arguments = ["--flagfile=ffhq.flags", "--precision=bfloat16"]
    arguments = expand_flagfiles(arguments, [cli.experiments()])
    (config,) = benchmark.configurations(job, arguments)
    assert [level.size for level in config.levels] == [
        (32, 32),
        (64, 64),
        (128, 128),
    ]
    assert config.prior_residual_units == [2048, 1024, 1024]
    assert (config.batch_sizes, config.dtype) == ([1], "mixed_bfloat16")
    # All levels are sampled; one is trained.
    assert config.level == ("top" if job == "prior" else None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stage1", "--batch_sizes=0"], "--batch_sizes.*at least 1"),
        (["prior", "--level=middle"], "--level.*top"),
        (["sampling", "--prior_layers=0"], "--prior_layers"),
        (["stage1", "--against=no-such-program"], "--against=no-such-program"),
        (["stage1", "--against=echo"], "--against=echo.*JSON"),
        (["stage1", "--against=false"], "--against=false"),
    ],
)
def test_bad_arguments_are_reported(arguments, words):
    with pytest.raises(UserError, match=words):
        benchmark.main([arguments[0], *TINY, *arguments[1:]])


@pytest.mark.parametrize("arguments", [[], ["--help"], ["stage3"]])
def test_without_a_job_the_usage_is_printed(arguments):
    with pytest.raises(SystemExit, match="stage1, prior, sampling"):
        benchmark.main(arguments)


def test_compiled_functions_see_new_weights():
    level = Level("top", 2, 3, 5)
    prior = PixelSNAIL(level, (), 0, 8, 4, 1, 0)
    prior.build((None, 2, 3))
    forward = timing.compiled(lambda codes: prior(codes), prior)
    codes = np.zeros((1, 2, 3), "int32")
    before = np.asarray(forward(codes))
    for variable in prior.trainable_variables:
        variable.assign(variable + 1.0)
    # Weights in the program itself would be those of the first call.
    after = keras.ops.convert_to_numpy(prior(codes))
    assert np.abs(after - before).max() > 1
    np.testing.assert_allclose(forward(codes), after, rtol=1e-4, atol=1e-4)


@pytest.mark.large
def test_stage1_is_timed(capsys):
    (row,) = report(capsys, "stage1", *TINY)["rows"]
    assert (row["network"], row["image_size"]) == ("VQVAE2", [8, 12])
    assert row["train_images_per_s"] == pytest.approx(2 / row["train_step_s"])
    assert row["decode_images_per_s"] > 0


@pytest.mark.large
def test_training_of_priors_is_timed(capsys):
    flags = ["--level=bottom", "--prior_rematerialize"]
    (row,) = report(capsys, "prior", *TINY, *flags)["rows"]
    assert (row["level"], row["map_size"]) == ("bottom", [4, 6])
    assert row["train_codes_per_s"] == pytest.approx(48 / row["train_step_s"])
    assert row["parameters"] > 0
    assert 0.01 < row["peak_gib"] < 1000


def check_sampling(rows):
    for row, positions in zip(rows[:2], (6, 24), strict=True):
        seconds = row["sample_s"]
        assert row["seconds_per_image"] == pytest.approx(seconds / 2)
        assert row["seconds_per_position"] == pytest.approx(seconds / positions)
        naive = positions * row["forward_s"]
        assert row["naive_s"] == pytest.approx(naive)
        assert row["times_naive"] == pytest.approx(naive / seconds)
    top, bottom, whole = rows
    assert (top["level"], bottom["level"]) == ("top", "bottom")
    assert whole["sample_s"] == pytest.approx(
        top["sample_s"] + bottom["sample_s"]
    )
    assert whole["seconds_per_image"] == pytest.approx(
        (whole["sample_s"] + whole["decode_s"]) / 2
    )


@pytest.mark.large
def test_sampling_of_all_levels_and_of_one_is_timed(capsys):
    check_sampling(report(capsys, "sampling", *TINY)["rows"])
    flags = ["--stage=prior", "--level=bottom"]
    (row,) = report(capsys, "sampling", *TINY, *flags)["rows"]
    assert row["level"] == "bottom"


@pytest.mark.large
def test_samples_are_drawn_with_the_flags_options(capsys, monkeypatch):
    seen = []

    def record(prior, temperature, top_k, **others):
        seen.append((temperature, top_k))
        return sample(prior, temperature=temperature, top_k=top_k, **others)

    monkeypatch.setattr(benchmark, "sample", record)
    flags = ["--stage=prior", "--level=bottom", "--temperature=0.9,0.7"]
    report(capsys, "sampling", *TINY, *flags, "--top_k=3")
    assert set(seen) == {(0.7, 3)}


@pytest.mark.large
def test_stages_of_the_input_are_timed(capsys):
    flags = ["--sources=imagenet", "--step_images_per_s=1e9"]
    (row,) = report(capsys, "input", *TINY, *flags)["rows"]
    # Of ImageNet's own files: 138 GB, 1,281,167 images.
    assert row["bytes_per_image"] == pytest.approx(138e9 / 1_281_167, rel=0.1)
    stages = ("read", "decode", "resize", "augment", "batch")
    costs = {stage: row[f"{stage}_cpu_ms"] for stage in stages}
    assert row["slowest_stage"] == max(costs, key=costs.get)
    assert row["bottleneck"] == row["slowest_stage"]
    # 16x16 pixels are read in place of decoding 500x375.
    assert row["cached_images_per_s"] > row["batch_images_per_s"]
    assert row["caching_images_per_s"] > 0
    assert row["read_images_per_s"] > row["decode_images_per_s"] > 0


def test_a_resumed_epoch_reads_one_window_and_not_what_is_before(capsys):
    examples = 30_000
    flags = [f"--examples={examples}", f"--shards={examples // 100}"]
    (row,) = report(capsys, "resume", *TINY, *flags)["rows"]
    assert (row["batch_size"], "network" in row) == (2, False)
    # One is held out.
    assert (row["examples"], row["shards"]) == (29_999, 300)
    # A window of 2,048, a part of a shard of 100, and what is read ahead; all
    # that is before takes 8 MB.
    assert 0.1 < row["resume_read_mb"] < 2.5


@pytest.mark.large
def test_jax_is_timed_where_tensorflow_is_not_installed():
    program = f"""
import runpy, sys
sys.modules["tensorflow"] = None
sys.argv = ["benchmark.py", "sampling", *{TINY}]
sys.path.insert(0, "tools")
runpy.run_path("tools/benchmark.py", run_name="__main__")
"""
    output = subprocess.check_output(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    printed = json.loads(output)
    assert printed["backend"] == "jax"
    check_sampling(printed["rows"])

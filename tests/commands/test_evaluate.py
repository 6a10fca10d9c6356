"""Metrics of a finished run, measured again."""

import json

import pytest

from tests.small_run import assert_one_sentence
from tests.small_run import call
from vqvae2_tf.commands import evaluate


def test_evaluating_again_gives_the_runs_own_metrics(small_run, capsys):
    assert call(evaluate, "nll", f"--run_dir={small_run.run_dir}") is None
    found = json.loads(capsys.readouterr().out)
    metrics = json.loads((small_run.run_dir / "metrics.json").read_text())
    for level in ("top", "bottom"):
        for name, expected in (
            ("validation_nll", f"{level}_nll"),
            ("train_nll", f"{level}_train_nll"),
            ("validation_bits_per_image", f"{level}_bits_per_image"),
        ):
            value = found[level][name]
            assert value == pytest.approx(metrics[expected], rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--run_dir=run"], ["a measure, one of", "nll", "--run_dir=run"]),
        ([], ["a measure", "nothing"]),
        (["fid", "--run_dir=run"], ["a measure", "fid"]),
        (["nll"], ["--run_dir must be given"]),
        (["nll", "--run_dir=nowhere"], ["--run_dir=nowhere", "config.json"]),
    ],
)
def test_mistakes_are_reported_in_one_sentence(arguments, words):
    assert_one_sentence(call(evaluate, *arguments), *words)


def test_a_run_without_priors_is_reported(own_run):
    for level in ("top", "bottom"):
        (own_run / f"prior_{level}" / "model.keras").unlink()
    message = call(evaluate, "nll", f"--run_dir={own_run}")
    assert_one_sentence(message, "no finished prior")


def test_help_lists_the_measures(capsys):
    assert call(evaluate, "--help") == 0
    assert "nll " in capsys.readouterr().out
    assert call(evaluate, "nll", "--help") == 0
    assert "--codes_dir" in capsys.readouterr().out

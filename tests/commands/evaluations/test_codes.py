"""Codes of samples beside a run's held-out codes."""

import collections
import json

import numpy as np
import pytest

from tests.small_run import NUM_CODES
from tests.small_run import assert_one_sentence
from tests.small_run import call
from tests.small_run import parse
from vqvae2_tf.codes import records
from vqvae2_tf.codes.npz import save_codes
from vqvae2_tf.commands import evaluate
from vqvae2_tf.commands import sample

RNG = np.random.default_rng(0)
CODES = {
    "top": RNG.integers(3, size=(2, 3)),
    "bottom": RNG.integers(NUM_CODES, size=(4, 6)),
}
SAMPLED = {
    "top": RNG.integers(2, size=(2, 3)),
    "bottom": RNG.integers(2, NUM_CODES, size=(4, 6)),
}


@pytest.fixture
def run_dir(tmp_path):
    """A run with ten held-out images, all of the same codes."""
    folder = tmp_path / "run"
    config = parse()
    card = {
        "levels": [level.to_json() for level in config.levels],
        "class_names": [],
        "fingerprint": "0a",
        "examples_per_shard": 100,
        "splits": {"train": 1, "validation": 10},
    }
    (folder / "codes").mkdir(parents=True)
    (folder / "config.json").write_text(config.to_json())
    (folder / "codes" / "codes.json").write_text(json.dumps(card))
    (path,) = records.shard_paths(str(folder / "codes"), "validation", card)
    example = (list(CODES.values()), 0, b"")
    records.write_shard(path, config.levels, [example] * 10)
    return folder


def write_samples(folder, count):
    for i in range(count):
        save_codes(str(folder / "codes" / f"{i:06}.npz"), SAMPLED)
    return folder


def measure(run_dir, *arguments):
    """Calls the verb. Returns its message, or its results by their names."""
    output = run_dir / "metrics.jsonl"
    output.unlink(missing_ok=True)
    message = call(
        evaluate,
        "codes",
        f"--run_dir={run_dir}",
        f"--output={output}",
        *arguments,
    )
    if message is not None:
        return message
    rows = map(json.loads, output.read_text().splitlines())
    return {row["name"]: row for row in rows}


def divergence(one, other):
    """In bits, of two lists."""
    p, q = collections.Counter(one), collections.Counter(other)
    total = 0.0
    for a, b in ((p, q), (q, p)):
        for key, count in a.items():
            share, other_share = count / a.total(), b[key] / b.total()
            total += share * np.log2(2 * share / (share + other_share)) / 2
    return total


def pairs(array, down, right):
    height, width = array.shape
    return [
        (array[i, j], array[i + down, j + right])
        for i in range(height - down)
        for j in range(width - right)
    ]


def test_divergences_are_from_the_held_out_codes(run_dir, tmp_path, capsys):
    samples = write_samples(tmp_path / "samples", 4)
    found = measure(run_dir, f"--samples={samples}")
    steps = {"codes": (0, 0), "right": (0, 1), "below": (1, 0)}
    assert found.keys() == {f"{n}_js_{s}" for n in CODES for s in steps}
    for name in CODES:
        for statistic, step in steps.items():
            row = found[f"{name}_js_{statistic}"]
            expected = divergence(
                pairs(SAMPLED[name], *step), pairs(CODES[name], *step)
            )
            assert row["value"] == pytest.approx(expected, rel=1e-9)
            assert row["value"] > 0.05
            assert row["floor"] == row["deviation"] == 0.0
    assert {(r["n"], r["samples"], r["held_out"]) for r in found.values()} == {
        (4, 4, 10)
    }
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[1:]] == [*found]
    found = measure(run_dir, f"--samples={write_samples(samples, 7)}")
    # Half of those that are held out.
    assert {row["n"] for row in found.values()} == {5}


@pytest.mark.large
def test_samples_are_those_that_sample_draws(own_run, tmp_path):
    card = json.loads((own_run / "codes" / "codes.json").read_text())
    maps = {x["name"]: (x["height"], x["width"]) for x in card["levels"]}
    card["splits"]["validation"] = 7
    (own_run / "codes" / "codes.json").write_text(json.dumps(card))
    (path,) = records.shard_paths(str(own_run / "codes"), "validation", card)
    levels = parse().levels
    records.write_shard(
        path,
        levels,
        [
            ([RNG.integers(NUM_CODES, size=s) for s in maps.values()], i, b"")
            # For an image without a class none is drawn.
            for i in (0, 0, 1, -1, 1, 2, 2)
        ],
    )
    samples = tmp_path / "samples"
    arguments = [f"--run_dir={own_run}", f"--output={samples}"]
    assert call(sample, *arguments, "--count=2", "--keep_codes") is None
    expected = measure(own_run, f"--samples={samples}")
    found = measure(own_run, "--batch_size=4")
    values = [
        [(row["value"], row["floor"], row["n"]) for row in rows.values()]
        for rows in (found, expected)
    ]
    assert values[0] == values[1]
    assert found["top_js_codes"]["input"] == f"run:{own_run}"


def test_mistakes_are_reported_in_one_sentence(run_dir, tmp_path):
    message = measure(run_dir, "--samples=x", "--count=2")
    assert_one_sentence(message, "either --samples or --count")
    message = measure(run_dir, f"--samples={tmp_path / 'nowhere'}")
    assert_one_sentence(message, "nowhere", "no such file or folder")
    message = measure(run_dir, "--count=2")
    assert_one_sentence(message, "no SavedModel")
    path = run_dir / "codes" / "codes.json"
    path.write_text(path.read_text().replace("10}", "1}"))
    message = measure(run_dir, "--count=2")
    assert_one_sentence(message, "two held-out images", "Received: 1")

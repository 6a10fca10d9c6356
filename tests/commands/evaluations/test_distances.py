"""The table of distances of samples, reconstructions and originals."""

import json

import numpy as np
import pytest

from tests.commands.evaluations.written import rows
from tests.commands.evaluations.written import write
from tests.small_run import assert_one_sentence
from tests.small_run import call
from vqvae2_tf.commands import evaluate
from vqvae2_tf.evaluation.inception_score import inception_score
from vqvae2_tf.evaluation.kernel_distance import kernel_distance
from vqvae2_tf.evaluation.precision_recall import precision_recall

SAMPLES = rows(1, 100, shift=0.5)
ORIGINALS = rows(2, 100)
RESTORED = ORIGINALS + 0.1 * rows(3, 100)
OFFICIAL = {
    "network": "inception",
    "official_weights": True,
    "resize": "bilinear_tf1_299",
    "layer": "pool_3",
}


@pytest.fixture
def distances(tmp_path, capsys):
    """Calls the verb. Returns its message, or its results by their names."""

    def measure(*arguments, **sets):
        path = tmp_path / "metrics.jsonl"
        path.unlink(missing_ok=True)
        sets = [f"--{name}={text}" for name, text in sets.items()]
        message = call(
            evaluate, "distances", *sets, f"--output={path}", *arguments
        )
        if message is not None:
            return message
        found = [json.loads(line) for line in path.read_text().splitlines()]
        printed = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in printed[1:]] == [
            row["name"] for row in found
        ]
        return {row["name"]: row for row in found}

    return measure


def trace_of_root(a, b):
    return np.sqrt(np.linalg.eigvals(a @ b).real).sum()


def frechet(x, y):
    x, y = x.astype("float64"), y.astype("float64")
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    return (
        np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2)
        + np.trace(a + b)
        - 2 * trace_of_root(a, b)
    )


def test_one_table_has_all_pairs_and_their_floor(distances, tmp_path):
    logits = rows(5, 100) * 3
    found = distances(
        samples=write(
            tmp_path / "samples", {"features": SAMPLES, "logits": logits}
        ),
        originals=write(
            tmp_path / "originals", {"features": ORIGINALS}, input="run:a@train"
        ),
        reconstructions=write(
            tmp_path / "restored", {"features": RESTORED}, input="run:a@train"
        ),
    )
    floor = found["fd_lite0_floor@train"]
    assert (floor["n"], floor["reference_n"]) == (50, 50)
    for name, pair in {
        "d_lite0@train": (SAMPLES, ORIGINALS),
        "d_lite0*@train": (SAMPLES, RESTORED),
    }.items():
        row = found[f"f{name}"]
        assert row["value"] == pytest.approx(frechet(*pair), rel=1e-9)
        assert (row["n"], row["floor"]) == (100, floor["value"])
        kernel = kernel_distance(*pair)
        row = found[f"k{name}"]
        assert row["value"] == pytest.approx(kernel.value, rel=1e-9)
        assert row["floor"] == found["kd_lite0_floor@train"]["value"]
    row = found["rfd_lite0@train"]
    assert row["value"] == pytest.approx(frechet(RESTORED, ORIGINALS))
    assert row["reference"] == "run:a@train"
    assert (row["weights"], row["resize"]) == ("0a" * 32, "bicubic_224")
    manifolds = precision_recall(SAMPLES, ORIGINALS)
    assert found["precision"]["value"] == manifolds.precision
    assert found["recall"]["value"] == manifolds.recall
    score = inception_score(logits)
    assert found["is_lite0"]["value"] == pytest.approx(score.value)
    assert len(found) == 12


def test_all_sets_have_one_number_of_images(distances, tmp_path):
    sets = {
        "samples": write(tmp_path / "samples", {"features": SAMPLES[:30]}),
        "originals": write(tmp_path / "originals", {"features": ORIGINALS}),
        "reconstructions": write(tmp_path / "r", {"features": RESTORED}),
    }
    found = distances(**sets)
    assert {row["n"] for row in found.values()} == {30}
    # Images and their reconstructions are chosen together.
    assert found["rfd_lite0"]["value"] < 0.1 < found["fd_lite0"]["value"]
    again = distances("--count=30", **sets)
    assert again == found
    other = distances("--seed=1", **sets)
    assert other["rfd_lite0"]["value"] != found["rfd_lite0"]["value"]
    message = distances("--count=31", **sets)
    assert_one_sentence(message, "--samples", "at least 31", "Received: 30")


def test_statistics_are_a_reference_of_frechet_distances(distances, tmp_path):
    path = tmp_path / "train.npz"
    sigma = np.cov(ORIGINALS.astype("float64"), rowvar=False)
    np.savez(path, mu=ORIGINALS.mean(axis=0, dtype="float64"), sigma=sigma)
    sets = {
        "samples": write(
            tmp_path / "samples", {"features": SAMPLES}, **OFFICIAL
        ),
        "originals": f"stats:{path}",
    }
    found = distances(**sets)
    assert found.keys() == {"fid"}
    expected = frechet(SAMPLES, ORIGINALS)
    assert found["fid"]["value"] == pytest.approx(expected, rel=1e-9)
    assert found["fid"]["reference"] == f"stats:{path}"
    np.savez(path, mu=np.ones(4), sigma=np.ones((4, 4)))
    message = distances(**sets)
    assert_one_sentence(message, "--originals=stats", "mu of 5", "Received: 4")
    for name in ("samples", "reconstructions"):
        message = distances(**{**sets, name: f"stats:{path}"})
        assert_one_sentence(message, f"--{name}", "features:DIR")
    assert_one_sentence(distances("--seed=5000000000", **sets), "--seed")
    np.savez(path, mu=np.ones(5))
    assert_one_sentence(distances(**sets), "mu [D] and sigma", "sigma")


def test_mistakes_are_reported_in_one_sentence(distances, tmp_path):
    message = distances()
    assert_one_sentence(message, "--samples, --originals", "Received: none")
    message = distances(samples="folder:images")
    assert_one_sentence(message, "--samples", "features:DIR", "folder:images")
    message = distances(samples=f"features:{tmp_path / 'nowhere'}")
    assert_one_sentence(message, "--samples", "nowhere", "no such folder")
    message = distances(samples=f"features:{tmp_path}")
    assert_one_sentence(message, "--samples", "without card.json")
    one = write(tmp_path / "one", {"features": SAMPLES})
    few = write(tmp_path / "few", {"features": SAMPLES[:3]})
    message = distances(samples=one, originals=few)
    assert_one_sentence(message, "--originals", "at least 4", "Received: 3")
    other = write(tmp_path / "other", {"features": SAMPLES}, weights="0b")
    message = distances(samples=one, originals=other)
    assert_one_sentence(message, "--originals", "weights", "Received: 0b")
    message = distances(f"--output={tmp_path}", samples=one)
    assert_one_sentence(message, "--output", "a file", "Received: a folder")


@pytest.mark.parametrize("kept_by", ["0a" * 32, "0b"])
def test_samples_that_the_network_kept_are_told(tmp_path, capsys, kept_by):
    one = write(tmp_path / "one", {"features": SAMPLES}, kept_by=kept_by)
    output = f"--output={tmp_path / 'metrics.jsonl'}"
    assert call(evaluate, "distances", f"--samples={one}", output) is None
    warns = "the critic is the network" in capsys.readouterr().out
    assert warns == (kept_by == "0a" * 32)

"""Scores of samples by a classifier, and the curve over what is kept."""

import csv
import sys

import numpy as np
import pytest
from PIL import Image

from tests.commands.evaluations.written import rows
from tests.commands.evaluations.written import write
from tests.small_run import assert_one_sentence
from tests.small_run import call
from vqvae2_tf.commands import evaluate
from vqvae2_tf.evaluation.frechet import Gaussian
from vqvae2_tf.evaluation.frechet import frechet_distance
from vqvae2_tf.evaluation.rejection import best_of_each_class

COUNT = 120
LABELS = np.arange(COUNT) % 3
SAMPLES = rows(1, COUNT)
# The critic is sure of the samples near to zero.
LOGITS = rows(2, COUNT)[:, :3]
LOGITS[np.arange(COUNT), LABELS] = 6 - np.sum(SAMPLES**2, axis=1)
SCORES = np.exp(LOGITS[np.arange(COUNT), LABELS]) / np.exp(LOGITS).sum(axis=1)
ORIGINALS = rows(3, 260) * 0.5


def read_csv(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def critic(tmp_path):
    arrays = {"features": SAMPLES, "logits": LOGITS, "labels": LABELS}
    return write(
        tmp_path / "critic",
        arrays,
        input="folder:samples",
        weights="0c",
        class_names=["a", "b", "c"],
    )


@pytest.fixture
def judged(tmp_path):
    arrays = {"features": SAMPLES, "logits": LOGITS[:, :2]}
    return write(tmp_path / "judged", arrays, input="folder:samples")


@pytest.fixture
def originals(tmp_path):
    return write(tmp_path / "originals", {"features": ORIGINALS})


def test_scores_are_ranked_within_classes(critic, tmp_path, capsys):
    path = tmp_path / "scores.csv"
    arguments = [f"--samples={critic}", f"--output={path}"]
    assert call(evaluate, "critic", *arguments) is None
    table = read_csv(path)
    assert [int(row["sample"]) for row in table] == list(range(COUNT))
    found = np.array([float(row["score"]) for row in table])
    np.testing.assert_allclose(found, SCORES, rtol=1e-5)
    for label in range(3):
        own = SCORES[label == LABELS]
        ranks = [int(r["rank"]) for r in table if r["label"] == str(label)]
        assert ranks == [int(np.sum(own > score)) for score in own]
        kept_at = [float(r["kept_at"]) for r in table[label::3]]
        # Of 40: 1, 4, 12, 20, 30 and all.
        assert np.unique(kept_at, return_counts=True)[1].tolist() == (
            [1, 3, 8, 8, 10, 10]
        )
    assert capsys.readouterr().out.splitlines()[-1].split()[1] == "3"


def test_a_critic_needs_logits_of_the_samples_classes(tmp_path, judged):
    output = f"--output={tmp_path / 'scores.csv'}"
    message = call(evaluate, "critic", f"--samples={judged}", output)
    assert_one_sentence(message, "--samples", "none with labels")
    arrays = {"features": SAMPLES, "logits": LOGITS, "labels": LABELS}
    other = write(tmp_path / "other", arrays, class_names=["a", "b"])
    message = call(evaluate, "critic", f"--samples={other}", output)
    assert_one_sentence(message, "2 classes", "Received: one of 3")
    some = {**arrays, "labels": np.where(LABELS == 1, -1, LABELS)}
    other = write(tmp_path / "some", some)
    message = call(evaluate, "critic", f"--samples={other}", output)
    assert_one_sentence(message, "all have a class", "without one")


def test_a_missing_matplotlib_is_reported(
    monkeypatch, critic, judged, originals, tmp_path
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    message = call(
        evaluate,
        "curve",
        f"--critic={critic}",
        f"--samples={judged}",
        f"--originals={originals}",
        f"--output={tmp_path / 'curve'}",
    )
    assert_one_sentence(message, "matplotlib", "vqvae2_tf[evaluation]")


def frechet(x, y):
    one, other = Gaussian([x]), Gaussian([y])
    return frechet_distance(
        one.mean, one.covariance, other.mean, other.covariance
    )


@pytest.mark.large
def test_the_curve_has_a_point_a_share(
    critic, judged, originals, tmp_path, capsys
):
    pytest.importorskip("matplotlib")
    output = tmp_path / "curve"
    arguments = [
        f"--critic={critic}",
        f"--samples={judged}",
        f"--originals={originals}",
        f"--output={output}",
    ]
    assert call(evaluate, "curve", *arguments) is None
    assert "Warning" not in capsys.readouterr().out
    table = read_csv(output / "curve.csv")
    # 1 % is one a class: too few for precision and recall.
    shares = [1, 0.75, 0.5, 0.3, 0.1]
    assert [float(row["share"]) for row in table] == shares
    assert [int(row["n"]) for row in table] == [120, 90, 60, 36, 12]
    for share, row in zip(shares, table, strict=True):
        kept = best_of_each_class(SCORES, LABELS, share)
        expected = frechet(SAMPLES[kept], ORIGINALS)
        assert float(row["fd_lite0"]) == pytest.approx(expected, rel=1e-6)
    precisions = [float(row["precision"]) for row in table]
    recalls = [float(row["recall"]) for row in table]
    assert precisions[-1] > precisions[0]
    assert recalls[-1] < recalls[0]
    with Image.open(output / "curve.png") as image:
        assert image.width > 1000

    assert call(evaluate, "curve", *arguments, "--count=50") is None
    table = read_csv(output / "curve.csv")
    assert [int(row["n"]) for row in table] == [50, 50, 50]
    assert len({row["floor"] for row in table}) == 1

    same = {"input": "folder:samples", "weights": "0c"}
    arguments[1:3] = [
        f"--samples={critic}",
        "--originals="
        + write(tmp_path / "same", {"features": ORIGINALS}, **same),
    ]
    assert call(evaluate, "curve", *arguments) is None
    assert "the critic is the network that judges" in capsys.readouterr().out


def test_a_curve_needs_one_set_of_samples(critic, originals, tmp_path):
    pytest.importorskip("matplotlib")
    other = write(tmp_path / "others", {"features": SAMPLES})
    arguments = [f"--critic={critic}", f"--output={tmp_path / 'curve'}"]
    message = call(evaluate, "curve", *arguments, f"--samples={other}")
    assert_one_sentence(message, "--originals must be given")
    arguments += [f"--originals={originals}", f"--samples={other}"]
    message = call(evaluate, "curve", *arguments)
    assert_one_sentence(message, "--critic", "folder:others", "folder:samples")

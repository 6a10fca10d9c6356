"""`vqvae2 evaluate inception`: how published figures are compared."""

import numpy as np
import pytest

from tests.runs.test_inputs import pixels
from tests.small_run import assert_one_sentence
from tests.small_run import call
from vqvae2_tf.commands import evaluate
from vqvae2_tf.commands.evaluations import inception
from vqvae2_tf.evaluation.inception_score import inception_score


def toy_network(images):
    """Outputs that are easy to repeat."""
    means = images.mean((1, 2)).astype("float32")
    return {
        "features": means,
        "logits": means / 50,
        "spatial": images.mean(1).reshape(len(images), -1)[:, :4],
    }


@pytest.fixture
def _toy(monkeypatch, tmp_path):
    monkeypatch.setattr(inception, "open_network", lambda *_: toy_network)
    (tmp_path / inception.WEIGHTS[0]).touch()


@pytest.mark.usefixtures("_toy")
def test_cifars_score_is_that_of_all_images(tmp_path, monkeypatch, capsys):
    images = pixels(45, 4, 5, 3)
    np.savez(tmp_path / inception.CIFAR, images)
    score = inception_score(toy_network(images)["logits"]).value
    arguments = ("inception", f"--check={tmp_path}", "--batch_size=16")
    for published, status in ((score + 5e-4, None), (score + 2e-3, 1)):
        figures = {"inception_score": (published, 1e-3)}
        monkeypatch.setattr(inception, "CIFAR_FIGURES", figures)
        assert call(evaluate, *arguments) == status
        lines = capsys.readouterr().out.splitlines()
        assert lines[1].split()[2:4] == [f"{score:.5g}", f"{published:.5g}"]
        assert lines[1].split()[-1] == str(status is None)


@pytest.mark.usefixtures("_toy")
def test_adms_distances_are_to_the_stored_statistics(tmp_path, capsys):
    samples, originals = pixels(40, 4, 5, 3), pixels(20, 4, 5, 3, seed=1)
    mean = np.array([120.0, 130, 140])
    statistics = {
        "mu": mean,
        "sigma": np.zeros((3, 3)),
        "mu_s": np.full(4, 128.0),
        "sigma_s": np.zeros((4, 4)),
    }
    np.savez(tmp_path / inception.SAMPLES, samples)
    np.savez(tmp_path / inception.REFERENCE, originals, **statistics)
    assert call(evaluate, "inception", f"--check={tmp_path}") == 1
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    found = {row[1]: float(row[2]) for row in rows[1:]}
    # To a point the distance is the squared bias and all variances.
    for name, output, centre in (
        ("fid", "features", mean),
        ("sfid", "spatial", 128.0),
    ):
        values = np.asarray(toy_network(samples)[output], "float64")
        expected = np.sum((values.mean(0) - centre) ** 2)
        expected += np.sum(values.var(0, ddof=1))
        assert found[name] == pytest.approx(expected, rel=1e-4)
    assert set(found) == set(inception.ADM_FIGURES)
    assert 0 <= found["recall"] <= 1


def test_what_is_expected_is_told_in_one_sentence(tmp_path):
    (tmp_path / inception.CIFAR).touch()
    message = call(evaluate, "inception", f"--check={tmp_path}")
    names = (inception.CIFAR, inception.REFERENCE, inception.WEIGHTS[0])
    assert_one_sentence(message, *names)
    assert_one_sentence(call(evaluate, "inception"), "--check must be given")

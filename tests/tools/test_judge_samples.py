"""The judge of the demo's samples, on images that it should know."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import judge_samples
from tests.helpers import normal
from vqvae2_tf.data import emoji64
from vqvae2_tf.errors import UserError
from vqvae2_tf.export import load
from vqvae2_tf.flags import Flag
from vqvae2_tf.runs import folder


def test_distances_are_those_to_the_nearest_image_or_its_mirror():
    images, training = normal(3, 4, 6, 3), normal(5, 4, 6, 3, seed=1)
    images[1] = training[2, :, ::-1]
    known = np.concatenate([training, training[:, :, ::-1]])
    expected = [min(np.mean((x - y) ** 2) for y in known) for x in images]
    found = judge_samples.nearest_mse(images, training)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found[1] < 1e-5


class Remembering:
    """A generator that gives training images back."""

    sampling_flags = (Flag("temperature", 1.0, "T", many=True),)

    def __init__(self, class_names):
        self.class_names = class_names

    def sample_codes(self, labels, seed, sample_ids, options):
        assert options == {"temperature": [0.5, 0.25]}
        self.labels = labels
        return None

    def decode(self, codes):
        rows = emoji64.read_rows()
        column = "group" if len(self.class_names) == 9 else "subgroup"
        images = []
        for label in self.labels:
            own = [
                i
                for i, row in enumerate(rows)
                if row[column] == self.class_names[label]
                and row["split"] == "train"
            ]
            images.append(own[len(images) % len(own)])
        return emoji64.read_images()[images] / 127.5 - 1.0


@pytest.mark.parametrize(
    "column", ["group", pytest.param("subgroup", marks=pytest.mark.large)]
)
def test_training_images_are_known_and_found_out(monkeypatch, capsys, column):
    names = list(dict.fromkeys(row[column] for row in emoji64.read_rows()))
    config = SimpleNamespace(temperature=[0.5, 0.25])
    monkeypatch.setattr(load, "find", lambda *names: "")
    monkeypatch.setattr(load, "Generator", lambda path: Remembering(names))
    monkeypatch.setattr(folder, "read_config", lambda path: config)
    judge_samples.main(["--run_dir=x"])
    report = json.loads(capsys.readouterr().out)
    assert report["samples"] == 450
    assert report["accuracy"] > 0.8
    assert len(report["group_accuracy"]) == 9
    assert report["accuracy"] == pytest.approx(
        np.mean(list(report["group_accuracy"].values()))
    )
    assert 0.6 < report["held_out_accuracy"] < 0.9
    # They are training images themselves, but for rounding.
    assert max(report["nearest_mse"]) < 1e-4
    assert min(report["held_out_nearest_mse"]) > 1e-4


def test_a_run_on_other_images_is_refused():
    with pytest.raises(UserError, match="--run_dir: .*emoji64.*Activities"):
        judge_samples.classes_to_draw(["cats", "dogs"])


def test_samples_are_shared_out_in_proportion():
    assert judge_samples.shares([7, 2, 1], 10).tolist() == [7, 2, 1]
    assert judge_samples.shares([1, 1, 1], 50).tolist() == [17, 17, 16]


def test_a_judge_is_trained_once():
    with pytest.raises(UserError, match="--judge=.*exists"):
        judge_samples.main(["--train"])

"""The judge of the demo's samples, on images that it should know."""

import json

import numpy as np

import judge_samples
from tests.helpers import normal
from vqvae2_tf.files.grids import save_image


def test_distances_are_those_to_the_nearest_image_or_its_mirror():
    images, training = normal(3, 4, 6, 3), normal(5, 4, 6, 3, seed=1)
    images[1] = training[2, :, ::-1]
    known = np.concatenate([training, training[:, :, ::-1]])
    expected = [min(np.mean((x - y) ** 2) for y in known) for x in images]
    found = judge_samples.nearest_mse(images, training)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found[1] < 1e-5


def test_samples_of_groups_and_of_their_subgroups_are_judged(tmp_path, capsys):
    splits, groups = judge_samples.real_images()
    images, labels = splits["train"]
    folders = {
        "Flags": "97_country_flag",
        "Smileys & Emotion": "0_Smileys_Emotion",
    }
    for group, folder in folders.items():
        own = images[labels == groups.index(group)][:20]
        for i, image in enumerate(own):
            save_image(str(tmp_path / folder / f"{i}.png"), 2.0 * image - 1.0)
    judge = f"{judge_samples.__file__.removesuffix('judge_samples.py')}"
    judge_samples.main(f"{judge}emoji_judge.weights.h5", str(tmp_path))
    report = json.loads(capsys.readouterr().out)
    assert report["samples"] == 40
    assert report["group_accuracy"].keys() == folders.keys()
    assert report["accuracy"] > 0.8
    assert 0.6 < report["held_out_accuracy"] < 0.9
    # They are training images themselves, but for rounding.
    assert max(report["nearest_mse"]) < 1e-4
    assert min(report["held_out_nearest_mse"]) > 1e-4

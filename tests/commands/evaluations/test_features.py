"""`vqvae2 evaluate features`: what it writes, and that it goes on."""

import json

import numpy as np
import pytest

from tests.runs.test_inputs import pixels
from tests.runs.test_inputs import read_all
from tests.runs.test_inputs import save_folder
from tests.small_run import assert_one_sentence
from tests.small_run import call
from tests.small_run import contents
from tests.small_run import save_images
from vqvae2_tf.commands import evaluate
from vqvae2_tf.evaluation import features
from vqvae2_tf.evaluation.networks import resizing
from vqvae2_tf.runs import feature_networks
from vqvae2_tf.runs.inputs import open_autoencoder
from vqvae2_tf.runs.inputs import open_input
from vqvae2_tf.runs.inputs import reconstruction

KERNEL = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")


@pytest.fixture(autouse=True)
def _weights(tmp_path, monkeypatch):
    path = tmp_path / "toy.h5"
    path.touch()
    monkeypatch.setattr(
        feature_networks, "read_weights", lambda *_: {"kernel": KERNEL}
    )


def evaluate_features(tmp_path, *arguments, output="features"):
    return call(
        evaluate,
        "features",
        "--network=tests.toy_network",
        f"--weights={tmp_path / 'toy.h5'}",
        f"--output={tmp_path / output}",
        "--batch_size=3",
        *arguments,
    )


def expected_features(images):
    small = np.asarray(resizing.bilinear_tf1(images, 4))
    return small.mean((1, 2)) @ KERNEL


def test_features_of_a_folder_and_its_classes(tmp_path):
    save_images(tmp_path / "images", count=3)
    text = f"folder:{tmp_path / 'images'}"
    assert evaluate_features(tmp_path, f"--input={text}") is None
    card, arrays = features.open_features(str(tmp_path / "features"))
    images, labels = read_all(open_input(text))
    expected = expected_features(images)
    np.testing.assert_allclose(arrays["features"][:], expected, rtol=1e-4)
    np.testing.assert_allclose(arrays["logits"][:], 2 * expected, rtol=1e-4)
    np.testing.assert_array_equal(arrays["labels"][:], labels)
    assert card["class_names"] == ["dark", "grey & pale", "light"]
    assert card["input"] == text
    assert card["resize"] == "bilinear_tf1_4"
    assert len(card["weights"]) == 64


@pytest.mark.large
def test_features_of_reconstructions(tmp_path, small_run):
    run = f"run:{small_run.run_dir}"
    arguments = [f"--input={run}@validation", f"--reconstruct={run}"]
    assert evaluate_features(tmp_path, *arguments) is None
    card, arrays = features.open_features(str(tmp_path / "features"))
    images, _ = read_all(open_input(f"{run}@validation"))
    model = open_autoencoder(run)
    expected = expected_features(reconstruction(model)(images))
    np.testing.assert_allclose(arrays["features"][:], expected, rtol=1e-3)
    assert card["reconstructed_by"] == model.fingerprint


def test_a_stopped_command_goes_on_with_the_missing_shards(
    tmp_path, monkeypatch
):
    init = features.Writer.__init__
    monkeypatch.setattr(
        features.Writer,
        "__init__",
        lambda self, *a: init(self, *a, shard_size=4),
    )
    np.savez(tmp_path / "x.npz", pixels(10, 6, 7, 3))
    arguments = [f"--input=npz:{tmp_path / 'x.npz'}"]
    assert evaluate_features(tmp_path, *arguments) is None
    whole = contents(tmp_path / "features")
    first, *_ = sorted((tmp_path / "features").glob("features-*.npy"))
    changed = sorted((tmp_path / "features").glob("features-*.npy"))[1]
    changed.unlink()
    first.write_bytes(b"left alone")
    assert evaluate_features(tmp_path, *arguments) is None
    again = contents(tmp_path / "features")
    assert again.pop(first.name) == b"left alone"
    whole.pop(first.name)
    assert again == whole


def test_other_images_in_the_same_folder_are_refused(tmp_path):
    save_folder(tmp_path / "images", pixels(2, 6, 7, 3))
    arguments = [f"--input=folder:{tmp_path / 'images'}"]
    assert evaluate_features(tmp_path, *arguments) is None
    (tmp_path / "images/1.png").rename(tmp_path / "images/2.png")
    message = evaluate_features(tmp_path, *arguments)
    assert_one_sentence(message, "another images")


def test_a_folder_without_shards_is_begun_again(tmp_path):
    images = pixels(3, 6, 7, 3)
    save_folder(tmp_path / "images", images)
    whole = (tmp_path / "images/1.png").read_bytes()
    middle = len(whole) // 2
    damaged = whole[:middle] + bytes(4) + whole[middle + 4 :]
    (tmp_path / "images/1.png").write_bytes(damaged)
    # With a size, files are not opened before they are read.
    arguments = [f"--input=folder:{tmp_path / 'images'}", "--image_size=6,7"]
    message = evaluate_features(tmp_path, *arguments)
    assert_one_sentence(message, "images/1.png")
    assert (tmp_path / "features/card.json").exists()
    (tmp_path / "images/1.png").unlink()
    assert evaluate_features(tmp_path, *arguments) is None
    _, arrays = features.open_features(str(tmp_path / "features"))
    expected = expected_features(images[[0, 2]])
    np.testing.assert_allclose(arrays["features"][:], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--network=resnet"], ["--network=resnet", "lite0", "SavedModel"]),
        (["--image_size=4"], ["--image_size", "HEIGHT,WIDTH"]),
        (["--reconstruct=folder:x"], ["--reconstruct", "run:DIR"]),
    ],
)
def test_mistakes_are_told_in_one_sentence(tmp_path, arguments, words):
    save_folder(tmp_path / "images", pixels(2, 6, 7, 3))
    text = f"--input=folder:{tmp_path / 'images'}"
    assert_one_sentence(evaluate_features(tmp_path, text, *arguments), *words)
    assert not (tmp_path / "features").exists()


def test_a_saved_model_is_a_network(tmp_path, monkeypatch):
    import tensorflow as tf

    class Means(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None] * 3 + [3])])
        def __call__(self, images):
            return {"features": tf.reduce_mean(images, (1, 2))}

    model = Means()
    tf.saved_model.save(
        model, str(tmp_path / "net"), {"serving_default": model.__call__}
    )
    images = pixels(4, 6, 7, 3)
    save_folder(tmp_path / "images", images)
    monkeypatch.setenv("HOME", str(tmp_path))
    arguments = [
        f"--input=folder:{tmp_path / 'images'}",
        "--network=~/net",
    ]
    assert evaluate_features(tmp_path, *arguments) is None
    card, arrays = features.open_features(str(tmp_path / "features"))
    assert card["arrays"] == ["features"]
    assert card["network"] == "net"
    np.testing.assert_allclose(
        arrays["features"][:], images.mean((1, 2)), rtol=1e-5
    )
    # JSON alone, for other programs.
    json.loads((tmp_path / "features/card.json").read_text())


def test_features_of_the_critic_that_kept_the_samples_are_told(
    tmp_path, capsys
):
    save_images(tmp_path / "samples" / "images", count=1)
    text = f"--input=folder:{tmp_path / 'samples' / 'images'}"
    assert evaluate_features(tmp_path, text) is None
    card, _ = features.open_features(str(tmp_path / "features"))
    weights = card["weights"]
    assert card["kept_by"] is None
    for kept_by in ("0a", weights):
        (tmp_path / "samples" / "sample.json").write_text(
            json.dumps({"critic_weights": kept_by})
        )
        assert "Warning" not in capsys.readouterr().out
        assert evaluate_features(tmp_path, text, output=kept_by) is None
        card, _ = features.open_features(str(tmp_path / kept_by))
        assert card["kept_by"] == kept_by
    assert "the critic is the network that judges" in capsys.readouterr().out

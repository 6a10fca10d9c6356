"""Metrics and images of a finished run."""

import json
import types

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import structural_similarity

from tests.small_run import IMAGE_SIZE
from tests.small_run import assert_one_sentence
from tests.training import small
from vqvae2_tf.errors import UserError
from vqvae2_tf.runs import folder
from vqvae2_tf.runs import pipeline
from vqvae2_tf.runs import results


def test_metrics_are_those_of_all_networks(small_run):
    path = small_run.run_dir / "metrics.json"
    metrics = json.loads(path.read_text())
    positions = {"top": 2 * 3, "bottom": 4 * 6}
    names = {"mse", "raw_mse", "last_mse", "train_mse", "unclipped_mse"}
    names |= {"psnr", "bits_per_image", "weights"}
    for level in positions:
        names |= {f"{level}_usage", f"{level}_perplexity"}
        names |= {f"{level}_{n}nll" for n in ("", "raw_", "last_", "train_")}
        names.add(f"{level}_bits_per_image")
    assert metrics.keys() == names
    expected = sum(
        metrics[f"{level}_nll"] * count / np.log(2)
        for level, count in positions.items()
    )
    assert metrics["bits_per_image"] == pytest.approx(expected)


def test_bits_are_summed_where_all_priors_have_them(own_run):
    path = own_run / "prior_top" / "result.json"
    result = json.loads(path.read_text())
    del result["bits_per_image"]
    path.write_text(json.dumps({**result, "masked_share": 0.5}))
    config = folder.read_config(str(own_run))
    metrics = results.gather_metrics(config)
    assert "bits_per_image" not in metrics
    assert metrics["top_masked_share"] == 0.5
    assert "bottom_bits_per_image" in metrics


def test_a_result_that_was_not_copied_with_its_model_is_named(
    small_run, own_run
):
    (own_run / "metrics.json").unlink()
    (own_run / "prior_top" / "result.json").unlink()
    config = folder.read_config(str(own_run))
    with pytest.raises(UserError, match="prior_top/result.json.*copy it"):
        results.gather_metrics(config)
    message = small_run.train(own_run)
    assert_one_sentence(message, "prior_top/result.json", "copy it with")


def read_grid(path, rows):
    """Pixels of each row of a grid, without the titles."""
    with Image.open(path) as grid:
        pixels = np.asarray(grid)
    columns = 2 * (IMAGE_SIZE[1] + 2) + 2
    return np.split(pixels[2:, -columns:], rows)


def as_shown(images):
    """Pixels in [0, 1], of eight bits."""
    return np.round(255 * (np.clip(images, -1, 1) + 1) / 2) / 255


def test_ssim_is_of_all_held_out_images(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (35, 12, 14, 3)).astype("float32")
    path = tmp_path / "autoencoder" / "result.json"
    path.parent.mkdir()
    path.write_text('{"mse": 0.5}')
    results.add_ssim(
        types.SimpleNamespace(run_dir=str(tmp_path)),
        lambda images: {"reconstruction": 1.5 * images},
        small.examples({"image": images}, 35),
    )
    expected = [
        structural_similarity(
            as_shown(image),
            as_shown(1.5 * image),
            data_range=1.0,
            channel_axis=-1,
            gaussian_weights=True,
            use_sample_covariance=False,
        )
        for image in images
    ]
    result = json.loads(path.read_text())
    assert result == {"mse": 0.5, "ssim": pytest.approx(np.mean(expected))}


def test_samples_are_of_the_classes_asked_for(
    small_run, own_run, tmp_path, monkeypatch
):
    every = read_grid(own_run / "samples.png", 3)
    classes = ["--sample_classes=light,0"]
    compared = []

    def compare(drawn, held_out, levels, labels):
        compared.append((drawn, held_out.count, levels, labels))
        return {"code_divergence_count": 5}

    metrics = json.loads((own_run / "metrics.json").read_text())
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "compare_codes", compare)
        assert small_run.train(own_run, *classes) is None
    ((drawn, held_out, levels, labels),) = compared
    assert {name: codes.shape for name, codes in drawn.items()} == {
        level.name: (4, *level.shape) for level in levels
    }
    assert (held_out, labels) == (1, [2, 0])
    # A finished run keeps what its samples have shown.
    assert small_run.train(own_run, *classes) is None
    metrics["code_divergence_count"] = 5
    assert json.loads((own_run / "metrics.json").read_text()) == metrics
    light, dark = read_grid(own_run / "samples.png", 2)
    np.testing.assert_array_equal(light, every[2])
    np.testing.assert_array_equal(dark, every[0])
    message = small_run.train(own_run, "--sample_classes=blue")
    assert_one_sentence(message, "--sample_classes", "dark", "blue")
    own = ["--noclass_conditional", "--sample_classes=dark"]
    message = small_run.train(tmp_path / "run", *own)
    assert_one_sentence(message, "--sample_classes", "no classes")


@pytest.mark.parametrize(
    ("count", "labels"),
    [(3, [0, 1, 2]), (4, [0, 1, 2, 3]), (9, [0, 2, 4, 6]), (99, None)],
)
def test_rows_are_evenly_spaced_over_the_classes(count, labels):
    found = results.evenly_spaced(count, 4)
    assert labels is None or found == labels
    assert len(set(found)) == min(count, 4)
    assert max(found) < count

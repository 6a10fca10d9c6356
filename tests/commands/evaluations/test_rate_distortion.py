"""The distortion of the first levels against their bits."""

import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image

from tests.runs.test_inputs import read_all
from tests.small_run import NUM_CODES
from tests.small_run import assert_one_sentence
from tests.small_run import call
from vqvae2_tf.commands import evaluate
from vqvae2_tf.evaluation.networks import resizing
from vqvae2_tf.files.grids import to_uint8
from vqvae2_tf.runs import feature_networks
from vqvae2_tf.runs.inputs import open_autoencoder
from vqvae2_tf.runs.inputs import open_input

KERNEL = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")


def frechet(x, y):
    """Of few rows: the trace of the root is a sum of singular values."""
    x, y = x.astype("float64"), y.astype("float64")
    off = x.mean(axis=0) - y.mean(axis=0)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    root = np.linalg.norm(x @ y.T, "nuc")
    return off @ off + (np.sum(x**2 + y**2) - 2 * root) / (len(x) - 1)


def read_csv(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.large
def test_points_are_of_the_first_levels(own_run, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(
        feature_networks, "read_weights", lambda *_: {"kernel": KERNEL}
    )
    (tmp_path / "toy.h5").touch()
    path = own_run / "prior_bottom" / "result.json"
    output, results = tmp_path / "out", tmp_path / "metrics.jsonl"
    arguments = [f"--run_dir={own_run}", f"--output={output}"]
    more = [
        "--network=tests.toy_network",
        f"--weights={tmp_path / 'toy.h5'}",
        f"--results={results}",
        "--batch_size=3",
    ]
    message = call(evaluate, "rate_distortion", *arguments, *more)
    assert_one_sentence(message, "--network", "at least 4 held-out images")
    config = json.loads((own_run / "config.json").read_text())
    config["validation_share"] = 0.5
    (own_run / "config.json").write_text(json.dumps(config))
    data_dir = str(tmp_path / "tfds")
    arguments.append(f"--data_dir={data_dir}")
    assert call(evaluate, "rate_distortion", *arguments, *more) is None
    run = f"run:{own_run}"
    images, _ = read_all(open_input(f"{run}@validation", data_dir=data_dir))
    model = open_autoencoder(run)
    codes = model.encode(images.astype("float32") / 127.5 - 1.0)

    def features(pixels):
        return np.asarray(resizing.bilinear_tf1(pixels, 4)).mean((1, 2))

    points = read_csv(output / "rate_distortion.csv")
    bits = 0.0
    for point, names, positions, level in zip(
        points,
        (["top"], ["top", "bottom"]),
        (6, 30),
        ("top", "bottom"),
        strict=True,
    ):
        restored = to_uint8(model.decode_levels(codes, names))
        mse = np.mean((images / 255 - restored / 255) ** 2)
        assert float(point["mse"]) == pytest.approx(mse, rel=1e-6)
        assert float(point["psnr"]) == pytest.approx(-10 * np.log10(mse))
        assert float(point["code_bits"]) == pytest.approx(
            positions * np.log2(NUM_CODES)
        )
        result = json.loads(
            (own_run / f"prior_{level}" / "result.json").read_text()
        )
        bits += result["bits_per_image"]
        assert float(point["nll_bits"]) == pytest.approx(bits)
        assert point["levels"] == "+".join(names)
        assert int(point["n"]) == len(images)
        expected = frechet(
            features(restored) @ KERNEL, features(images) @ KERNEL
        )
        assert float(point["rfd_toy"]) == pytest.approx(expected, rel=1e-4)
        assert float(point["fd_toy_floor"]) >= 0
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    values = {(r["levels"], r["name"]): r["value"] for r in rows}
    assert values["top", "mse"] == float(points[0]["mse"])
    name = "rfd_toy@validation"
    assert values["top+bottom", name] == float(points[1]["rfd_toy"])
    floors = [r for r in rows if r["name"] == "fd_toy_floor@validation"]
    assert [r["n"] for r in floors] == [int(p["floor_n"]) for p in points]
    assert floors[0]["n"] < len(images)
    with Image.open(output / "rate_distortion.png") as picture:
        assert np.std(np.asarray(picture)) > 0
    assert "likelihood" not in capsys.readouterr().out
    # A bound counts for nothing.
    path.write_text(json.dumps({"bound": 1.0}))
    assert call(evaluate, "rate_distortion", *arguments) is None
    assert "nll_bits need priors with a likelihood" in capsys.readouterr().out
    one, both = read_csv(output / "rate_distortion.csv")
    assert one["nll_bits"] == points[0]["nll_bits"]
    assert both["nll_bits"] == ""


def test_a_missing_matplotlib_is_reported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    arguments = [f"--run_dir={tmp_path}", f"--output={tmp_path / 'out'}"]
    message = call(evaluate, "rate_distortion", *arguments)
    assert_one_sentence(message, "evaluate rate_distortion needs matplotlib")

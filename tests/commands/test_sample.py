"""Samples on disk: their seeds, their classes, and adding to a folder."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.helpers import array
from tests.small_run import CLASSES
from tests.small_run import IMAGE_SIZE
from tests.small_run import assert_one_sentence
from tests.small_run import call
from tests.small_run import contents
from vqvae2_tf.codes.npz import load_codes
from vqvae2_tf.commands import sample
from vqvae2_tf.files.grids import to_uint8
from vqvae2_tf.runs.best_samples import critic_of
from vqvae2_tf.sampling import sample_levels

FOLDERS = ["0_dark", "1_grey_pale", "2_light"]


@pytest.fixture
def draw(small_run, tmp_path):
    """Runs `sample` on the small run; gives the folder it wrote to."""

    def draw(name, *arguments):
        output = tmp_path / name
        done = call(
            sample,
            f"--run_dir={small_run.run_dir}",
            f"--output={output}",
            "--seed=3",
            *arguments,
        )
        assert done is None
        return output

    return draw


def images_of(folder):
    return {k: v for k, v in contents(folder).items() if k.endswith(".png")}


@pytest.mark.parametrize("truncated", [False, True])
def test_samples_are_those_of_the_priors(small_run, draw, truncated):
    model, *priors = (
        keras.saving.load_model(small_run.run_dir / name / "model.keras")
        for name in ("autoencoder", "prior_top", "prior_bottom")
    )
    arguments = ["--count=2", "--keep_codes", "--temperature=0.9,0.8"]
    options = [{"temperature": 0.9}, {"temperature": 0.8}]
    if truncated:
        arguments += ["--top_k=2,0", "--top_p=1,0.3"]
        options[0] |= {"top_k": 2, "top_p": 1.0}
        options[1] |= {"top_k": 0, "top_p": 0.3}
    output = draw("samples", *arguments)
    labels = [0, 1, 2] * 2
    # Compiled as the verb compiles it: in bfloat16 XLA rounds less often.
    draw_codes = tf.function(
        lambda: sample_levels(priors, labels, options, seed=3), jit_compile=True
    )
    codes = draw_codes()
    images = to_uint8(array(model.decode(codes))).astype(int)
    for number, label in enumerate(labels):
        name = f"{FOLDERS[label]}/{number // 3:06d}"
        written = np.asarray(Image.open(output / "images" / f"{name}.png"))
        assert np.abs(written - images[number]).max() <= 1
        path = str(output / "codes" / f"{name}.npz")
        found = load_codes(path, model.levels(IMAGE_SIZE))
        for maps, expected in zip(found.values(), codes, strict=True):
            np.testing.assert_array_equal(maps, array(expected)[number])
    grid = np.asarray(Image.open(output / "grid.png"))
    height, width = IMAGE_SIZE
    assert len(grid) == 3 * (height + 2) + 2
    np.testing.assert_array_equal(
        grid[-height - 2 : -2, -width - 2 : -2],
        np.asarray(Image.open(output / "images" / f"{FOLDERS[2]}/000001.png")),
    )


def test_a_sample_is_added_to_and_is_the_same(draw):
    whole = images_of(draw("whole", "--count=2", "--batch_size=2"))
    output = draw("parts", "--count=1", "--classes=light,1", "--batch_size=1")
    some = images_of(output)
    assert some.keys() == {
        "grid.png",
        *(f"images/{name}/000000.png" for name in FOLDERS[1:]),
    }
    times = {path: path.stat().st_mtime_ns for path in output.rglob("0*.png")}
    draw("parts", "--count=2", "--batch_size=2")
    assert images_of(output) == whole
    for path, written in times.items():
        assert path.stat().st_mtime_ns == written
    (output / "images" / FOLDERS[0] / "000001.png").unlink()
    draw("parts", "--count=2")
    assert images_of(output) == whole


def save_critic(path, classes=3):
    """A SavedModel whose logits are 100 times some means of channels."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec((None, *IMAGE_SIZE, 3))])
    def call_it(images):
        features = tf.reduce_mean(images / 255.0, axis=(1, 2))
        return {"features": features, "logits": 100 * features[:, :classes]}

    module.call_it = call_it
    signatures = {"serving_default": call_it.get_concrete_function()}
    tf.saved_model.save(module, str(path), signatures)
    return path


def test_the_best_of_each_class_are_kept(draw, tmp_path):
    candidates = draw("all", "--count=4", "--batch_size=2")
    arguments = [
        "--count=2",
        "--keep_best=0.5",
        f"--critic={save_critic(tmp_path / 'critic')}",
        "--batch_size=2",
    ]
    output = draw("best", *arguments)
    expected = {}
    for label, name in enumerate(FOLDERS):
        paths = [candidates / "images" / name / f"{i:06}.png" for i in range(4)]
        pixels = [np.asarray(Image.open(path)) / 255.0 for path in paths]
        logits = 100 * np.mean(pixels, axis=(1, 2))
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        best = np.argsort(-scores[:, label], kind="stable")[:2]
        for i in best:
            path = f"images/{name}/{i:06}.png"
            expected[path] = (candidates / path).read_bytes()
        written = json.loads((output / "scores" / f"{name}.json").read_text())
        np.testing.assert_allclose(
            written["scores"], scores[:, label], rtol=1e-4
        )
    found = images_of(output)
    grid = found.pop("grid.png")
    assert found == expected
    # Stopped on the way, it goes on.
    (output / next(iter(expected))).unlink()
    path = output / "scores" / f"{FOLDERS[2]}.json"
    whole = path.read_text()
    some = json.loads(whole)["scores"][:3]
    path.write_text(json.dumps({"scores": some}))
    path.with_name(f"{FOLDERS[1]}.json").unlink()
    draw("best", *arguments)
    assert images_of(output) == {**expected, "grid.png": grid}
    np.testing.assert_allclose(
        json.loads(path.read_text())["scores"],
        json.loads(whole)["scores"],
        rtol=1e-6,
    )
    card = json.loads((output / "sample.json").read_text())
    assert card["critic"] == "critic"
    assert critic_of(f"folder:{output / 'images'}/") == card["critic_weights"]
    assert critic_of(f"folder:{candidates / 'images'}") is None


def test_the_best_of_others_are_refused(small_run, draw, tmp_path, monkeypatch):
    few = save_critic(tmp_path / "few", 2)
    arguments = [f"--run_dir={small_run.run_dir}", "--keep_best=0.5"]
    output = tmp_path / "best"

    def message(*more):
        return call(sample, *arguments, f"--output={output}", *more)

    for given, words in (
        ([f"--critic={few}"], ["--critic", "3 classes", "one of 2"]),
        (["--critic=nowhere"], ["--critic=nowhere: expected one of"]),
        (["--critic=inception"], ["--critic=inception", "of its own, or the"]),
        ([], ["--keep_best below 1 and --critic", "--keep_best alone"]),
        (["--critic=x", "--keep_best=1"], ["together", "--critic alone"]),
        (["--critic=x", "--vary=2"], ["either --keep_best or --vary"]),
        (
            ["--critic=x", "--keep_best=0.001", "--count=1001"],
            ["--keep_best", "at most 1000000", "Received: 1001000"],
        ),
        (["--critic=x", "--keep_best=0"], ["--keep_best", "at least 0.0001"]),
    ):
        assert_one_sentence(message(*given), *words)
    path = str(small_run.run_dir / "saved_models" / "generator")
    generator = sample.load.Generator(path)
    monkeypatch.setattr(generator, "class_names", [])
    assert_one_sentence(message("--critic=x"), "--keep_best", "with classes")
    assert not output.exists()


@pytest.mark.large
def test_variations_share_the_coarsest_codes_alone(small_run, draw):
    arguments = ["--keep_codes", "--classes=1,2"]
    output = draw(
        "varied", "--count=1", "--vary=2", "--batch_size=2", *arguments
    )
    some = contents(output / "images") | contents(output / "codes")
    draw("varied", "--count=2", "--vary=3", *arguments)
    whole = contents(output / "images") | contents(output / "codes")
    assert some.items() <= whole.items()
    assert len(whole) == 2 * 2 * 2 * 3
    # The first of a sample is what is drawn without variations.
    plain = draw("plain", "--count=2", *arguments)
    assert (contents(plain / "images") | contents(plain / "codes")).items() <= (
        whole.items()
    )
    generator = sample.load.Generator(
        str(small_run.run_dir / "saved_models" / "generator")
    )
    levels = list(generator.levels.values())
    for name in FOLDERS[1:]:
        for index in range(2):
            found = [
                load_codes(
                    str(output / "codes" / name / f"{index:06d}{suffix}.npz"),
                    levels,
                )
                for suffix in ("", "_0001", "_0002")
            ]
            top, bottom = (
                np.stack([codes[level] for codes in found])
                for level in ("top", "bottom")
            )
            assert (top == top[0]).all()
            for i, j in ((0, 1), (0, 2), (1, 2)):
                assert (bottom[i] != bottom[j]).any()


def test_a_folder_of_other_settings_is_refused(small_run, draw):
    output = draw("samples", "--count=1", "--classes=0")
    for change, words in (
        ("--seed=4", "seed (3 then, 4 now)"),
        ("--top_k=2", "top_k ([0, 0] then, [2, 2] now)"),
    ):
        message = call(
            sample,
            f"--run_dir={small_run.run_dir}",
            f"--output={output}",
            "--seed=3",
            change,
        )
        assert_one_sentence(message, "sample.json", words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--classes=dog"], ["--classes", "dog", ", ".join(CLASSES)]),
        (["--classes=3"], ["--classes", "numbers below 3"]),
        (["--temperature=1,2,3"], ["--temperature", "top, bottom", "1.0,2.0"]),
        (["--temperature=0"], ["--temperature", "at least 0.001"]),
        (["--top_k=-1"], ["--top_k", "whole number", "at least 0"]),
        (["--top_k=1.5"], ["--top_k", "whole number"]),
        (["--top_p=.5,2"], ["--top_p", "at most 1"]),
        (["--count=0"], ["--count", "at least 1"]),
        (["--vary=0"], ["--vary", "at least 1"]),
        (["--vary=2", "--count=400000"], ["--count", "349525", "--vary"]),
        (["--keep_codes", "false"], ["flags only", "false"]),
    ],
)
def test_mistakes_are_reported_in_one_sentence(
    small_run, tmp_path, arguments, words
):
    output = tmp_path / "out"
    run_dir = f"--run_dir={small_run.run_dir}"
    message = call(sample, run_dir, f"--output={output}", *arguments)
    assert_one_sentence(message, *words)
    assert not output.exists()


def test_classes_that_are_numbers_count_by_name(
    small_run, draw, monkeypatch, tmp_path
):
    path = str(small_run.run_dir / "saved_models" / "generator")
    generator = sample.load.Generator(path)
    monkeypatch.setattr(generator, "class_names", ["1", "2", "10"])
    output = draw("samples", "--count=1", "--classes=2,1")
    drawn = {path.parent.name for path in output.rglob("000000.png")}
    assert drawn == {"0_1", "1_2"}
    run_dir = f"--run_dir={small_run.run_dir}"
    output = f"--output={tmp_path / 'more'}"
    message = call(sample, run_dir, output, "--classes=0")
    assert_one_sentence(message, "--classes: expected some of 1, 2, 10. Rec")


def test_help_lists_the_sampling_options_of_the_run(small_run, capsys):
    # The flags may be written apart.
    arguments = ["--count", "2", "--run_dir", small_run.run_dir]
    assert call(sample, *arguments, "--help") == 0
    with_run = capsys.readouterr().out
    assert call(sample, "--help") == 0
    without = capsys.readouterr().out
    for name in ("temperature", "top_k", "top_p"):
        assert f"--{name}: " in with_run
        assert f"--{name}: " not in without
    assert "--classes: " in without
    assert_one_sentence(call(sample, "--output=x"), "--run_dir or")

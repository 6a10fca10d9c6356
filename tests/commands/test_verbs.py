"""The scripts in tools, by their command lines, on tiny SavedModels."""

import functools
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.helpers import array
from tests.helpers import integers
from tests.helpers import normal
from tests.helpers import run_script
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.codes import records as code_records
from vqvae2_tf.codes.npz import load_codes
from vqvae2_tf.data.image_files import read_image
from vqvae2_tf.export import write as export
from vqvae2_tf.files.grids import to_uint8
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.sampling import sample_levels

TOOLS = pathlib.Path(__file__).parents[2] / "tools"
IMAGE_SIZE = (8, 12)
SIZES = {"top": (2, 3), "bottom": (4, 6)}
NUM_CODES = 6
CLASSES = ["ant", "bee & co", "cow"]


# Most of a script's time is spent on loading the same two models.
load_once = functools.cache(tf.saved_model.load)


@pytest.fixture(autouse=True)
def _load_once(monkeypatch):
    monkeypatch.setattr(tf.saved_model, "load", load_once)


def run_tool(name, *arguments):
    """Runs a script of tools. Returns what it exits with."""
    return run_script(TOOLS / f"{name}.py", *arguments)


@pytest.fixture(scope="module")
def networks():
    """An autoencoder and its priors with weights that are not trained."""
    keras.utils.set_random_seed(0)
    model = VQVAE2((2, 2), 4, 2, 1, NUM_CODES, 3)
    model.build((None, *IMAGE_SIZE, 3))
    model(np.tanh(normal(5, *IMAGE_SIZE, 3)), training=True)
    priors = [
        PixelSNAIL(SIZES["top"], NUM_CODES, 8, 8, 1, 0, num_classes=3),
        PixelSNAIL(
            SIZES["bottom"],
            NUM_CODES,
            8,
            8,
            1,
            0,
            num_classes=3,
            coarser_map_sizes=[SIZES["top"]],
            num_conditioning_blocks=2,
            conditioning_units=8,
        ),
    ]
    for prior, size in zip(priors, SIZES.values(), strict=True):
        prior.build((None, *size))
    return model, priors


@pytest.fixture(scope="module")
def run_dir(networks, tmp_path_factory):
    """A run's folder, as far as the scripts read it."""
    model, priors = networks
    folder = tmp_path_factory.mktemp("run")
    export.export_autoencoder(
        model, IMAGE_SIZE, str(folder / "saved_models" / "autoencoder")
    )
    export.export_generator(
        model, priors, str(folder / "saved_models" / "generator"), CLASSES
    )
    return folder


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures of several sizes, three of them whole."""
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    for i, (name, size) in enumerate(
        (("a.png", (8, 12)), ("b.bmp", (20, 9)), ("deep/a.png", (30, 30)))
    ):
        pixels = integers(256, *size, 3, seed=i).astype("uint8")
        Image.fromarray(pixels).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def pixels_of(path):
    return np.asarray(Image.open(path))


def assert_same_pixels(path, image):
    """The PNG holds the picture, up to rounding."""
    difference = pixels_of(path).astype(int) - to_uint8(array(image))
    assert np.abs(difference).max() <= 1


def test_pictures_to_codes_and_back(networks, run_dir, pictures, tmp_path):
    model, _ = networks
    codes, decoded = tmp_path / "codes", tmp_path / "decoded"
    told = run_tool(
        "encode",
        f"--run_dir={run_dir}",
        f"--input={pictures}",
        f"--output={codes}",
        "--batch_size=2",
    )
    assert told == "error: 1 of 4 files were skipped, as reported above."
    done = run_tool(
        "decode",
        f"--saved_model={run_dir / 'saved_models' / 'autoencoder'}",
        f"--input={codes}",
        f"--output={decoded}",
    )
    assert not done
    assert sum(path.is_file() for path in decoded.rglob("*.png")) == 3
    for name in ("a.png", "b.bmp", "deep/a.png"):
        image = read_image(str(pictures / name), IMAGE_SIZE, 3)
        outputs = model(image[None])
        stem = pathlib.Path(name).with_suffix("")
        found = load_codes(
            str(codes / stem.with_suffix(".npz")), SIZES, NUM_CODES
        )
        for level, expected in zip(SIZES, outputs["codes"], strict=True):
            np.testing.assert_array_equal(found[level], expected[0])
        assert_same_pixels(
            decoded / stem.with_suffix(".png"), outputs["reconstruction"][0]
        )


@pytest.mark.parametrize("levels", ["all", "top", "bottom"])
def test_reconstruction_of_some_levels(
    networks, run_dir, pictures, tmp_path, levels
):
    model, _ = networks
    (pictures / "broken.jpg").unlink()
    output = tmp_path / "restored"
    assert not run_tool(
        "reconstruct",
        f"--run_dir={run_dir}",
        f"--input={pictures}",
        f"--output={output}",
        f"--levels={levels}",
    )
    image = read_image(str(pictures / "b.bmp"), IMAGE_SIZE, 3)
    embeddings = []
    codes = model.encode(image[None])
    for name, quantizer, level in zip(
        SIZES, model.quantizers, codes, strict=True
    ):
        embedded = array(quantizer.embed(level))
        if levels not in ("all", name):
            mean = np.mean(array(quantizer.ema_sums), axis=0) / np.mean(
                array(quantizer.ema_counts)
            )
            embedded = np.broadcast_to(mean, embedded.shape)
        embeddings.append(embedded)
    (upsampler,) = model.upsamplers
    expected = model.decoder(
        np.concatenate([array(upsampler(embeddings[0])), embeddings[1]], -1)
    )
    assert_same_pixels(output / "b.png", expected[0])


def test_codebooks_are_shown_and_counted(networks, run_dir, tmp_path):
    model, _ = networks
    own_run = tmp_path / "run"
    shutil.copytree(run_dir, own_run)
    top = np.array([[0, 0, 1], [0, 0, 1]])
    bottom = np.arange(24).reshape(4, 6) % NUM_CODES
    folder = str(own_run / "codes")
    card = {
        "map_sizes": list(SIZES.values()),
        "num_codes": NUM_CODES,
        "class_names": CLASSES,
        "fingerprint": "",
        "examples_per_shard": 1,
        "splits": {"train": 1, "validation": 1},
    }
    for split in card["splits"]:
        (path,) = code_records.shard_paths(folder, split, card)
        code_records.write_shard(path, [([top, bottom], 0, b"")])
    (own_run / "codes" / code_records.CARD).write_text(json.dumps(card))
    output = tmp_path / "codebook"
    assert not run_tool(
        "codebook", f"--run_dir={own_run}", f"--output={output}"
    )
    table = json.loads((output / "usage.json").read_text())
    counts = table["train"]["top"]
    assert counts["counts"] == [4, 2, 0, 0, 0, 0]
    assert counts["usage"] == pytest.approx(2 / 6)
    # exp of the entropy of shares 2/3 and 1/3.
    assert counts["perplexity"] == pytest.approx(3 / 2 ** (2 / 3))
    assert table["validation"]["bottom"]["perplexity"] == pytest.approx(6)
    shown = pixels_of(output / "bottom.png")
    images = model.decode(
        [
            np.full((NUM_CODES, *SIZES["top"]), -1),
            np.broadcast_to(
                np.arange(NUM_CODES)[:, None, None],
                (NUM_CODES, *SIZES["bottom"]),
            ),
        ]
    )
    # Tiles at the right end of the row, 2 pixels between them.
    for code in range(NUM_CODES):
        right = shown.shape[1] - 2 - (NUM_CODES - 1 - code) * (12 + 2)
        tile = shown[2:10, right - 12 : right].astype(int)
        assert np.abs(tile - to_uint8(array(images[code]))).max() <= 1


@pytest.fixture
def draw(run_dir, tmp_path):
    """Runs `sample` on the run; gives the folder it wrote to."""

    def draw(name, *arguments):
        output = tmp_path / name
        assert not run_tool(
            "sample",
            f"--run_dir={run_dir}",
            f"--output={output}",
            "--temperature=0.9,0.8",
            "--seed=3",
            *arguments,
        )
        return output

    return draw


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*.png")
    }


def test_samples_are_those_of_the_priors(networks, draw):
    model, priors = networks
    output = draw("samples", "--count=2", "--keep_codes")
    labels = [0, 1, 2] * 2
    codes = sample_levels(
        priors, labels=labels, temperatures=[0.9, 0.8], seed=3
    )
    images = model.decode(codes)
    folders = ["0_ant", "1_bee_co", "2_cow"]
    for number, label in enumerate(labels):
        name = f"{folders[label]}/{number // 3:06d}"
        assert_same_pixels(output / "pictures" / f"{name}.png", images[number])
        found = load_codes(
            str(output / "codes" / f"{name}.npz"), SIZES, NUM_CODES
        )
        for level, maps in zip(SIZES, codes, strict=True):
            np.testing.assert_array_equal(found[level], array(maps)[number])
    grid = pixels_of(output / "grid.png")
    assert len(grid) == 3 * (8 + 2) + 2
    np.testing.assert_array_equal(
        grid[-10:-2, -14:-2],
        pixels_of(output / "pictures" / "2_cow" / "000001.png"),
    )


def test_samples_of_the_likeliest_codes(networks, draw):
    _, priors = networks
    output = draw(
        "samples",
        "--count=1",
        "--keep_codes",
        "--top_k=1,7",
        "--top_p=1,0.3",
    )
    codes = sample_levels(
        priors,
        labels=[0, 1, 2],
        temperatures=[0.9, 0.8],
        seed=3,
        top_ks=[1, 7],
        top_ps=[1.0, 0.3],
    )
    for label, name in enumerate(("0_ant", "1_bee_co", "2_cow")):
        path = output / "codes" / name / "000000.npz"
        found = load_codes(str(path), SIZES, NUM_CODES)
        for level, maps in zip(SIZES, codes, strict=True):
            np.testing.assert_array_equal(found[level], array(maps)[label])


def test_a_sample_is_added_to_and_is_the_same(draw):
    whole = contents(draw("whole", "--count=3", "--batch_size=7"))
    output = draw("parts", "--count=1", "--classes=cow,1")
    some = contents(output)
    assert {f"pictures/{n}/000000.png" for n in ("1_bee_co", "2_cow")} == {
        name for name in some if name != "grid.png"
    }
    times = {path: path.stat().st_mtime_ns for path in output.rglob("0*.png")}
    draw("parts", "--count=3", "--batch_size=2")
    assert contents(output) == whole
    for path, written in times.items():
        assert path.stat().st_mtime_ns == written
    (output / "pictures" / "0_ant" / "000001.png").unlink()
    draw("parts", "--count=3")
    assert contents(output) == whole


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("sample", ["--classes=dog"], ["--classes", "dog", "ant, bee & co"]),
        ("sample", ["--classes=3"], ["--classes", "3"]),
        ("sample", ["--temperature=1,2,3"], ["--temperature", "top, bottom"]),
        ("sample", ["--temperature=0"], ["--temperature", "from 0.001"]),
        ("sample", ["--top_k=0"], ["--top_k", "whole number", "from 1"]),
        ("sample", ["--top_k=1.5"], ["--top_k", "whole number"]),
        ("sample", ["--top_p=.5,2"], ["--top_p", "to 1"]),
        ("reconstruct", ["--input=.", "--levels=middle"], ["middle", "bottom"]),
        ("encode", ["--input=none"], ["--input=none", "no such folder"]),
        ("codebook", ["--run_dir=nowhere"], ["--run_dir=nowhere"]),
        ("sample", ["--keep_codes", "false"], ["flags only", "false"]),
    ],
)
def test_mistakes_are_told_in_one_sentence(
    run_dir, tmp_path, tool, arguments, words
):
    told = run_tool(
        tool,
        f"--run_dir={run_dir}",
        f"--output={tmp_path / 'out'}",
        *arguments,
    )
    assert told.startswith("error: ")
    assert "\n" not in told
    for word in words:
        assert word in told
    assert not (tmp_path / "out").exists()


def test_other_models_and_other_settings_are_told(run_dir, draw, tmp_path):
    generator = run_dir / "saved_models" / "generator"
    told = run_tool(
        "encode",
        f"--saved_model={generator}",
        f"--input={tmp_path}",
        f"--output={tmp_path / 'out'}",
    )
    assert "no encode" in told
    output = draw("samples", "--count=1", "--classes=0")
    told = run_tool(
        "sample", f"--run_dir={run_dir}", f"--output={output}", "--seed=4"
    )
    assert "seed (3 then, 4 now)" in told

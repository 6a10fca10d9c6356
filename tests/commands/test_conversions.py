"""Images to codes, codes to images, and both at once."""

import pathlib

import keras
import numpy as np
import pytest
from PIL import Image

from tests.helpers import array
from tests.helpers import integers
from tests.small_run import IMAGE_SIZE
from tests.small_run import assert_one_sentence
from tests.small_run import call
from vqvae2_tf.codes.npz import load_codes
from vqvae2_tf.commands import decode
from vqvae2_tf.commands import encode
from vqvae2_tf.commands import reconstruct
from vqvae2_tf.data.image_files import read_image
from vqvae2_tf.files.grids import to_uint8


@pytest.fixture(scope="module")
def model(small_run):
    """The small run's autoencoder."""
    path = small_run.run_dir / "autoencoder" / "model.keras"
    return keras.saving.load_model(path)


@pytest.fixture
def images(tmp_path):
    """A folder of images of several sizes, three of them whole."""
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for i, (name, size) in enumerate(
        (("a.png", (8, 12)), ("b.bmp", (20, 9)), ("deep/a.png", (30, 30)))
    ):
        # Noise on a ramp, so that not all codes are the same.
        ramp = np.linspace(0, 200, size[1])[:, None]
        pixels = integers(56, *size, 3, seed=i) + ramp
        Image.fromarray(pixels.astype("uint8")).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


def assert_same_pixels(path, image):
    """The PNG holds the image, up to rounding."""
    pixels = np.asarray(Image.open(path)).astype(int)
    assert np.abs(pixels - to_uint8(array(image))).max() <= 1


def test_images_to_codes_and_back(small_run, model, images, tmp_path, capsys):
    codes, decoded = tmp_path / "codes", tmp_path / "decoded"
    message = call(
        encode,
        f"--run_dir={small_run.run_dir}",
        f"--input={images}",
        f"--output={codes}",
        "--batch_size=2",
    )
    assert message == "error: 1 of 4 files were skipped, as reported above."
    assert (
        "broken.jpg: cannot be decoded: no known format"
        in capsys.readouterr().err
    )
    done = call(
        decode,
        f"--saved_model={small_run.run_dir / 'saved_models' / 'autoencoder'}",
        f"--input={codes}",
        f"--output={decoded}",
    )
    assert done is None
    assert "not read" not in capsys.readouterr().out
    assert sum(path.is_file() for path in decoded.rglob("*.png")) == 3
    levels = model.levels(IMAGE_SIZE)
    used = {level.name: set() for level in levels}
    for name in ("a.png", "b.bmp", "deep/a.png"):
        outputs = model(read_image(str(images / name), IMAGE_SIZE, 3)[None])
        stem = pathlib.Path(name).with_suffix("")
        found = load_codes(str(codes / stem.with_suffix(".npz")), levels)
        for level, expected in zip(levels, outputs["codes"], strict=True):
            np.testing.assert_array_equal(found[level.name], expected[0])
            used[level.name].update(np.unique(expected))
        assert_same_pixels(
            decoded / stem.with_suffix(".png"), outputs["reconstruction"][0]
        )
    assert min(map(len, used.values())) > 1


@pytest.mark.parametrize("chosen", ["all", "top", "bottom", "bottom,top"])
def test_reconstruction_of_some_levels(
    small_run, model, images, tmp_path, chosen
):
    (images / "broken.jpg").unlink()
    output = tmp_path / "restored"
    done = call(
        reconstruct,
        f"--run_dir={small_run.run_dir}",
        f"--input={images}",
        f"--output={output}",
        f"--levels={chosen}",
    )
    assert done is None
    codes = model.encode(read_image(str(images / "b.bmp"), IMAGE_SIZE, 3)[None])
    names = ["top", "bottom"] if chosen == "all" else chosen.split(",")
    embeddings = []
    for name, quantizer, level in zip(
        ("top", "bottom"), model.quantizers, codes, strict=True
    ):
        embedded = array(quantizer.embed(level))
        if name not in names:
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


@pytest.mark.parametrize("chosen", ["all", "bottom"])
def test_an_image_is_explained_level_by_level(
    small_run, model, images, tmp_path, chosen
):
    (images / "broken.jpg").unlink()
    output = tmp_path / "explained"
    arguments = [
        f"--run_dir={small_run.run_dir}",
        f"--input={images}",
        f"--output={output}",
        f"--levels={chosen}",
        "--batch_size=2",
    ]
    assert call(reconstruct, *arguments, "--contributions") is None
    image = read_image(str(images / "b.bmp"), IMAGE_SIZE, 3)
    codes = [array(maps) for maps in model.encode(image[None])]
    hidden = [np.full_like(maps, -1) for maps in codes]
    whole = np.clip(array(model.decode(codes)), -1, 1)[0]
    if chosen == "all":
        top = np.clip(array(model.decode([codes[0], hidden[1]])), -1, 1)[0]
        rows = [[top, top], [whole - top, whole], [image]]
    else:
        bottom = np.clip(array(model.decode([hidden[0], codes[1]])), -1, 1)[0]
        rows = [[bottom, bottom], [image]]
    pixels = np.asarray(Image.open(output / "b.png")).astype(int)
    height, width = IMAGE_SIZE
    assert len(pixels) == 2 + len(rows) * (height + 2)
    left = pixels.shape[1] - 2 * (width + 2)
    for i, row in enumerate(rows):
        for j, expected in enumerate(row):
            x, y = left + j * (width + 2), 2 + i * (height + 2)
            found = pixels[y : y + height, x : x + width]
            assert np.abs(found - to_uint8(expected)).max() <= 1
    # Another kind of picture does not go to the same folder.
    message = call(reconstruct, *arguments)
    assert_one_sentence(message, str(output), "--overwrite")


@pytest.mark.parametrize(
    ("verb", "argument", "words"),
    [
        (reconstruct, "--levels=middle", ["--levels", "middle", "top, bottom"]),
        (encode, "--input=none", ["--input=none", "no such folder"]),
        (encode, "--run_dir=nowhere", ["--run_dir=nowhere"]),
        (encode, "--saved_model=x", ["either --run_dir or --saved_model"]),
        (encode, "--output=", ["--output must be given"]),
        (encode, "--batch_size=0", ["--batch_size", "at least 1"]),
        (decode, "--input", ["--input"]),
    ],
)
def test_mistakes_are_reported_in_one_sentence(
    small_run, images, tmp_path, verb, argument, words
):
    message = call(
        verb,
        f"--run_dir={small_run.run_dir}",
        f"--input={images}",
        f"--output={tmp_path / 'out'}",
        argument,
    )
    assert_one_sentence(message, *words)
    assert not (tmp_path / "out").exists()


def test_another_saved_model_is_reported(small_run, images, tmp_path):
    generator = small_run.run_dir / "saved_models" / "generator"
    message = call(
        encode,
        f"--saved_model={generator}",
        f"--input={images}",
        f"--output={tmp_path / 'out'}",
    )
    assert_one_sentence(message, f"{generator} has no encode", "another model")

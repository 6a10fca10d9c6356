"""Images of every source, in one form."""

import numpy as np
import pytest
from PIL import Image

from tests.small_run import CLASSES
from tests.small_run import save_images
from vqvae2_tf.errors import UserError
from vqvae2_tf.export import load
from vqvae2_tf.files.grids import to_uint8
from vqvae2_tf.runs import folder
from vqvae2_tf.runs.inputs import open_autoencoder
from vqvae2_tf.runs.inputs import open_input
from vqvae2_tf.runs.inputs import reconstruction


def pixels(count, *shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(256, size=(count, *shape)).astype("uint8")


def save_folder(folder, images):
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}.png")


def read_all(images, size=3):
    """All images and labels, `size` at once."""
    parts = [
        images.read(i, min(size, images.count - i))
        for i in range(0, images.count, size)
    ]
    return tuple(map(np.concatenate, zip(*parts, strict=True)))


def test_a_folder_gives_its_very_pixels(tmp_path):
    expected = pixels(5, 6, 7, 3)
    save_folder(tmp_path / "images", expected)
    images = open_input(f"folder:{tmp_path / 'images'}")
    assert (images.count, images.size) == (5, (6, 7))
    np.testing.assert_array_equal(read_all(images)[0], expected)
    first = open_input(f"folder:{tmp_path / 'images'}", count=2)
    np.testing.assert_array_equal(read_all(first)[0], expected[:2])


def test_subfolders_are_classes(tmp_path):
    save_images(tmp_path / "images", count=2)
    # The second is in a single folder, as archives have it.
    for root in (tmp_path / "images", tmp_path):
        images = open_input(f"folder:{root}")
        assert images.class_names == sorted(CLASSES)
        assert read_all(images)[1].tolist() == [0, 0, 1, 1, 2, 2]
    # One folder alone is none.
    one = open_input(f"folder:{tmp_path / 'images' / CLASSES[0]}")
    assert one.class_names == ()


@pytest.mark.parametrize("shape", [(6, 7, 3), (6, 7, 1), (6, 7)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_is_read_as_a_stream(tmp_path, shape, save):
    expected = pixels(7, *shape)
    save(tmp_path / "x.npz", expected, np.arange(7))
    images = open_input(f"npz:{tmp_path / 'x.npz'}")
    expected = expected.reshape(7, 6, 7, -1) + np.zeros((1, 1, 1, 3), "uint8")
    np.testing.assert_array_equal(read_all(images)[0], expected)
    # Forward past some, and back.
    np.testing.assert_array_equal(images.read(5, 2)[0], expected[5:])
    np.testing.assert_array_equal(images.read(1, 2)[0], expected[1:3])


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_other_images_of_the_same_names_have_another_identity(tmp_path, kind):
    identities = []
    for name, seed in (("a", 0), ("again", 0), ("b", 1)):
        # The files are as long as the others: noise is stored as it is.
        images = pixels(4, 6, 7, 3, seed=seed)
        path = tmp_path / name / "x.npz"
        save_folder(path.parent, images)
        np.savez(path, images)
        text = f"npz:{path}" if kind == "npz" else f"folder:{path.parent}"
        identities.append(open_input(text).identity)
    assert identities[0] == identities[1] != identities[2]


@pytest.mark.parametrize("ending", ["bmp", "tiff"])
def test_plain_pixels_count_from_the_first_to_the_last(tmp_path, ending):
    identities = []
    for value in (0, 1):
        image = np.zeros((9, 9, 3), "uint8")
        # BMP has the last row first.
        image[[2, -2]] = value
        path = tmp_path / str(value) / f"a.{ending}"
        path.parent.mkdir()
        Image.fromarray(image).save(path)
        identities.append(open_input(f"folder:{path.parent}").identity)
    assert identities[0] != identities[1]


def test_grey_images_have_three_equal_channels(tmp_path):
    expected = pixels(2, 6, 7)
    save_folder(tmp_path / "images", expected)
    images, _ = read_all(open_input(f"folder:{tmp_path / 'images'}"))
    np.testing.assert_array_equal(images, np.stack([expected] * 3, -1))


@pytest.mark.large
def test_a_data_set_gives_the_crops_of_training(small_run):
    text = f"dataset:folder:{small_run.folder / 'images'}@validation"
    data_dir = str(small_run.folder / "tfds")
    images = open_input(text, (8, 12), data_dir=data_dir)
    own = open_input(f"run:{small_run.run_dir}@validation")
    assert images.count == own.count
    found, labels = read_all(images)
    for a, b in zip(read_all(own), (found, labels), strict=True):
        np.testing.assert_array_equal(a, b)
    # Each is a file of its class.
    files = {
        np.asarray(Image.open(path)).tobytes(): path.parent.name
        for path in (small_run.folder / "images").rglob("*.png")
    }
    names = [files[image.tobytes()] for image in found]
    assert names == [images.class_names[label] for label in labels]
    np.testing.assert_array_equal(images.read(0, 1)[0], found[:1])
    # Back, and forward past some.
    train = open_input(f"run:{small_run.run_dir}@train")
    rows, _ = read_all(train)
    for i in (0, 4, 2):
        np.testing.assert_array_equal(train.read(i, 1)[0], rows[i : i + 1])


@pytest.mark.large
def test_a_run_s_images_are_read_from_data_dir(small_run, tmp_path):
    text = f"run:{small_run.run_dir}@validation"
    images = open_input(text, data_dir=str(tmp_path / "moved"))
    assert any((tmp_path / "moved").iterdir())
    np.testing.assert_array_equal(
        read_all(images)[0], read_all(open_input(text))[0]
    )


@pytest.mark.large
def test_samples_are_drawn_as_the_run_draws_its_own(small_run, monkeypatch):
    config = folder.read_config(small_run.run_dir)
    config = config.replace(temperature=[0.1, 3.0])
    monkeypatch.setattr(folder, "read_config", lambda _: config)
    images = open_input(f"run:{small_run.run_dir}", count=4)
    model = load.Generator(str(small_run.run_dir / "saved_models/generator"))
    options = {f.name: f.default for f in model.sampling_flags}
    options["temperature"] = [0.1, 3.0]
    ids = np.array([1, 3])
    codes = model.sample_codes(ids % 3, 0, ids, options)
    found, labels = read_all(images)
    assert labels.tolist() == [0, 1, 2, 0]
    np.testing.assert_array_equal(found[ids], to_uint8(model.decode(codes)))


@pytest.mark.large
def test_reconstructions_pass_through_uint8(small_run):
    text = f"saved_model:{small_run.run_dir}/saved_models/autoencoder"
    model = open_autoencoder(text)
    images = pixels(2, 8, 12, 3)
    found = reconstruction(model)(images)
    codes = model.encode(images / np.float32(127.5) - 1)
    np.testing.assert_array_equal(found, to_uint8(model.decode(codes)))
    assert found.dtype == np.uint8


def test_mistakes_are_told_in_one_sentence(tmp_path):
    save_folder(tmp_path / "mixed/a", pixels(2, 6, 7, 3))
    save_folder(tmp_path / "mixed/b", pixels(1, 9, 7, 3))
    save_folder(tmp_path / "corrupt", pixels(2, 6, 7, 3))
    whole = (tmp_path / "corrupt/1.png").read_bytes()
    (tmp_path / "corrupt/1.png").write_bytes(whole[:90])
    (tmp_path / "empty").mkdir()
    run = f"run:{tmp_path / 'empty'}"
    np.savez(tmp_path / "float.npz", np.zeros((2, 4, 4, 3)))
    for text, *words in (
        (f"folder:{tmp_path / 'mixed'}", "one size", "6x7", "b/0.png of 9x7"),
        (f"folder:{tmp_path / 'corrupt'}", "1.png", "cannot be decoded"),
        (f"folder:{tmp_path / 'empty'}", "a folder of none"),
        ("folder:nowhere", "no such folder"),
        (f"npz:{tmp_path / 'float.npz'}", "uint8", "float64"),
        ("npz:nowhere.npz", "No such file"),
        ("dataset:emoji64@validation", "--image_size"),
        ("dataset:emoji64@test", "SPLIT is train or validation"),
        ("run:nowhere@train", "is not the folder of a run"),
        ("run:nowhere", "--count"),
        (f"{run}@test", f"Received: {run}@test", "SPLIT is train"),
        ("picture.png", "--input: expected folder:DIR"),
    ):
        with pytest.raises(UserError) as error:
            images = open_input(text)
            read_all(images)
        assert "\n" not in str(error.value)
        for word in words:
            assert word in str(error.value), str(error.value)
    with pytest.raises(UserError, match="^--input=run:nowhere: there is no"):
        open_input("run:nowhere", count=2)
    with pytest.raises(UserError, match="^--reconstruct=saved_model:nowhere"):
        open_autoencoder("saved_model:nowhere")
    with pytest.raises(
        UserError, match="expected at least 9 images. Received: 3"
    ):
        open_input(f"folder:{tmp_path / 'mixed'}", (4, 4), count=9)


def test_images_of_any_size_are_scaled_and_cropped(tmp_path):
    save_folder(tmp_path / "mixed/a", pixels(2, 6, 7, 3))
    save_folder(tmp_path / "mixed/b", pixels(1, 9, 7, 3))
    images = open_input(f"folder:{tmp_path / 'mixed'}", (4, 4))
    assert read_all(images)[0].shape == (3, 4, 4, 3)

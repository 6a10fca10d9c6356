"""Random changes of images, shown."""

import numpy as np
from PIL import Image

from tests.small_run import assert_one_sentence
from tests.small_run import call
from vqvae2_tf.commands import show_augmentation

SIZE = 64


def show(folder, *arguments):
    return call(
        show_augmentation,
        f"--dataset=folder:{folder / 'images'}",
        f"--image_size={SIZE}",
        f"--data_dir={folder / 'tfds'}",
        f"--output={folder / 'out' / 'augmentation.png'}",
        "--columns=3",
        "--draws=2",
        *arguments,
    )


def save_images(folder):
    """Five smooth images, lighter on the left, neither black nor white."""
    folder.mkdir()
    ramp = np.linspace(200, 60, SIZE)[None, :, None]
    for i in range(5):
        pixels = np.broadcast_to(ramp, (SIZE, SIZE, 3)) + [i, 0, -i]
        Image.fromarray(pixels.astype("uint8")).save(folder / f"{i}.png")


def tile(image, row, column):
    """Pixels of one tile, counted from the right for the titles' sake."""
    step = SIZE + 2
    left = image.shape[1] - (3 - column) * step
    top = 2 + row * step
    return image[top : top + SIZE, left : left + SIZE].astype(int)


def test_originals_stand_above_draws(tmp_path):
    save_images(tmp_path / "images")
    assert show(tmp_path, "--augment=flip,brightness") is None
    path = tmp_path / "out" / "augmentation.png"
    assert list(path.parent.iterdir()) == [path]
    image = np.asarray(Image.open(path))
    assert image.shape[0] == 3 * (SIZE + 2) + 2
    deltas = []
    for column in range(3):
        original = tile(image, 0, column)
        assert original[0, 0, 1] == 200
        for row in (1, 2):
            drawn = tile(image, row, column)
            is_flipped = drawn[0, 0, 1] < drawn[0, -1, 1]
            delta = drawn - (original[:, ::-1] if is_flipped else original)
            assert np.ptp(delta) <= 1
            deltas.append(delta.mean())
    assert 1 < np.abs(deltas).max() <= 0.08 * 255 + 1
    assert len(set(deltas)) > 3


def test_nothing_to_show_is_reported_in_one_sentence(tmp_path):
    assert_one_sentence(show(tmp_path, "--augment="), "--augment")
    assert not (tmp_path / "out").exists()

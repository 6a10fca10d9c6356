"""The script that shows augmentation."""

import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
SIZE = 64


def show(folder, *arguments):
    return subprocess.run(
        [
            sys.executable,
            ROOT / "tools" / "show_augmentation.py",
            f"--dataset=folder:{folder / 'pictures'}",
            f"--image_size={SIZE}",
            f"--data_dir={folder / 'tfds'}",
            f"--output={folder / 'out' / 'augmentation.png'}",
            "--pictures=3",
            "--draws=2",
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def save_pictures(folder):
    """Five smooth pictures, lighter on the left, neither black nor white."""
    folder.mkdir()
    ramp = np.linspace(200, 60, SIZE)[None, :, None]
    for i in range(5):
        pixels = np.broadcast_to(ramp, (SIZE, SIZE, 3)) + [i, 0, -i]
        Image.fromarray(pixels.astype("uint8")).save(folder / f"{i}.png")


def tile(picture, row, column):
    """Pixels of one tile, counted from the right for the titles' sake."""
    step = SIZE + 2
    left = picture.shape[1] - (3 - column) * step
    top = 2 + row * step
    return picture[top : top + SIZE, left : left + SIZE].astype(int)


def test_originals_stand_above_draws(tmp_path):
    save_pictures(tmp_path / "pictures")
    result = show(tmp_path, "--augment=flip,brightness")
    assert result.returncode == 0, result.stderr[-3000:]
    path = tmp_path / "out" / "augmentation.png"
    assert list(path.parent.iterdir()) == [path]
    picture = np.asarray(Image.open(path))
    assert picture.shape[0] == 3 * (SIZE + 2) + 2
    deltas = []
    for column in range(3):
        original = tile(picture, 0, column)
        assert original[0, 0, 1] == 200
        for row in (1, 2):
            drawn = tile(picture, row, column)
            is_flipped = drawn[0, 0, 1] < drawn[0, -1, 1]
            delta = drawn - (original[:, ::-1] if is_flipped else original)
            assert np.ptp(delta) <= 1
            deltas.append(delta.mean())
    assert 1 < np.abs(deltas).max() <= 0.08 * 255 + 1
    assert len(set(deltas)) > 3


def test_nothing_to_show_is_told_in_one_sentence(tmp_path):
    result = show(tmp_path, "--augment=")
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: --augment")
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()

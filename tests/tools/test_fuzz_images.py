"""Damaged files, and what is noticed of a decoder that fails at them."""

import os
import subprocess
import sys

import pytest

import fuzz_images

# Pillow's.
pytestmark = pytest.mark.filterwarnings("ignore")

# Run again by the processes that decode.
BAD_DECODER = """
import os, signal, time
from PIL import Image
import fuzz_images
from vqvae2_tf.data import decoding

files = [fuzz_images.damaged(0, number)[1] for number in range(8)]

def decode(data, channels):
    number = files.index(data)
    if number == 0:
        return Image.new("L" if channels == 1 else "RGB", (1, 1))
    if number == 2:
        return Image.new("L", (1, 1))
    if number == 3:
        raise KeyError("a key")
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 5:
        time.sleep(60)
    if number == 6:
        bytearray(fuzz_images.BYTES)
    raise decoding.UnreadableImageError

decoding.decode_image = decode
fuzz_images.SECONDS = 1
if __name__ == "__main__":
    fuzz_images.main(["--count=8", "--output=escaped"])
"""


def test_whatever_is_no_image_and_no_known_error_escapes(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(BAD_DECODER)
    done = subprocess.run(
        [sys.executable, program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    reasons = {int(line.split()[0]): line for line in lines if ": " in line}
    assert sorted(reasons) == [2, 3, 4, 5, 6]
    words = ["mode L", "KeyError", "status -9", "status -14", "MemoryError"]
    for line, word in zip(
        [reasons[n] for n in range(2, 7)], words, strict=True
    ):
        assert word in line
    totals = next(line for line in lines if line.startswith("all")).split()
    assert totals == ["all", "1", "2", "5"]
    files = sorted((tmp_path / "escaped").iterdir())
    assert [file.stem for file in files] == [f"0-{n}" for n in range(2, 7)]
    assert files[0].read_bytes() == fuzz_images.damaged(0, 2)[1]


def test_the_files_that_are_damaged_are_sound():
    outcomes = {
        name: {fuzz_images.outcome(data, 3) for data in files}
        for name, files in fuzz_images.originals().items()
    }
    for name in ("AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "WEBP"):
        assert outcomes.pop(name) == {"decoded"}
    # Floats are left out.
    assert outcomes.pop("TIFF") == {"decoded", "left out"}
    assert len(outcomes) > 10
    assert set.union(*outcomes.values()) == {"left out"}


def test_damages_are_a_function_of_seed_and_number():
    files = [fuzz_images.damaged(3, number)[1] for number in range(200)]
    again = [fuzz_images.damaged(3, number)[1] for number in range(200)]
    other = [fuzz_images.damaged(4, number)[1] for number in range(200)]
    assert files == again != other


@pytest.mark.parametrize(
    ("count", "seed"),
    [(400, 2), pytest.param(20_000, 3, marks=pytest.mark.large)],
)
def test_damaged_files_give_an_image_or_a_known_error(count, seed, capsys):
    fuzz_images.main([f"--count={count}", f"--seed={seed}"])
    name, decoded, left_out, escaped = next(
        line.split()
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("all")
    )
    assert int(decoded) > count / 20
    assert (int(decoded) + int(left_out), int(escaped)) == (count, 0)

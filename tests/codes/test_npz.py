"""Codes of one image on disk."""

import numpy as np
import pytest

from vqvae2_tf.codes.npz import load_codes
from vqvae2_tf.codes.npz import save_codes
from vqvae2_tf.errors import UserError
from vqvae2_tf.level import Level

LEVELS = [Level("top", 2, 3, 6), Level("bottom", 4, 6, 6)]
CODES = {
    "top": np.array([[0, 1, -1], [3, 4, 5]], "int32"),
    "bottom": np.arange(24, dtype="int32").reshape(4, 6) % 6,
}


def test_codes_come_back(tmp_path):
    path = str(tmp_path / "new" / "a.npz")
    save_codes(path, CODES)
    loaded = load_codes(path, LEVELS)
    for name, codes in CODES.items():
        np.testing.assert_array_equal(loaded[name], codes)
        assert loaded[name].dtype == np.int32


def test_vectors_come_back(tmp_path):
    path = str(tmp_path / "a.npz")
    vectors = np.linspace(-1, 1, 24, dtype="float32").reshape(2, 3, 4)
    vectors[0, 1] = np.nan  # Not known.
    save_codes(path, {"top": vectors})
    loaded = load_codes(path, [Level("top", 2, 3, None, channels=4)])
    np.testing.assert_array_equal(loaded["top"], vectors)
    assert loaded["top"].dtype == np.float32
    with pytest.raises(UserError, match=r"expected .*\(2, 3, 5\)"):
        load_codes(path, [Level("top", 2, 3, None, channels=5)])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"bottom": CODES["bottom"] + 1},
            "`bottom`: .* at most 5. Received: 6",
        ),
        ({"top": CODES["top"] - 1}, "`top`: .*at least -1, .* Received: -2"),
        ({"top": CODES["top"] * 0.5}, "top: expected integers"),
        ({"top": CODES["top"].T}, r"top.*\(3, 2\)"),
        ({"middle": CODES["top"]}, "middle"),
    ],
)
def test_codes_of_something_else_are_reported(tmp_path, changed, message):
    path = str(tmp_path / "a.npz")
    save_codes(path, {**CODES, **changed})
    with pytest.raises(UserError, match=message):
        load_codes(path, LEVELS)


def test_any_damage_is_reported_or_harmless(tmp_path):
    path = tmp_path / "a.npz"
    save_codes(str(path), CODES)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    reported = 0
    for trial in range(100):
        # Every fourth file is cut off, the others have three changed bytes.
        damaged = bytearray(data[: len(data) * trial // 100])
        if trial % 4:
            damaged = bytearray(data)
            for place in rng.integers(len(data), size=3):
                damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            load_codes(str(path), LEVELS)
        except UserError:
            reported += 1
        else:
            assert trial % 4
    assert reported > 75


def test_a_single_array_is_no_image(tmp_path):
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        np.save(file, CODES["top"])
    with pytest.raises(UserError, match="cannot be read"):
        load_codes(str(path), LEVELS)

"""Codes of another tokenizer, in the ways that they are stored."""

import numpy as np
import pytest

from vqvae2_tf.codes.arrays import open_codes
from vqvae2_tf.codes.npz import save_codes
from vqvae2_tf.errors import UserError
from vqvae2_tf.level import Level

LEVELS = [Level("top", 2, 3, 6), Level("bottom", 4, 6, 600)]
CLASSES = ["cat", "dog"]
ROWS = np.array([0, 2, 3])


def maps(count=5, dtype="int64"):
    rng = np.random.default_rng(0)
    return {
        level.name: rng.integers(
            level.num_codes, size=(count, *level.shape), dtype=dtype
        )
        for level in LEVELS
    }


LABELS = np.array([1, 0, 0, 1, 1], "uint8")


def save(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return
    path.mkdir()
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)


def check(source, arrays, labels):
    codes, found, ids = source.read(ROWS)
    assert source.count == 5
    for level, own in zip(LEVELS, codes, strict=True):
        np.testing.assert_array_equal(own, arrays[level.name][ROWS])
        assert own.dtype == np.int32
    np.testing.assert_array_equal(found, labels[ROWS])
    assert len({*ids}) == 3 and all(isinstance(x, bytes) for x in ids)


@pytest.mark.parametrize("name", ["codes.npz", "folder"])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("dtype", ["int64", "uint16"])
def test_arrays_of_all_images_are_read(tmp_path, name, flat, dtype):
    arrays = maps(dtype=dtype)
    stored = {k: x.reshape(5, -1) if flat else x for k, x in arrays.items()}
    save(tmp_path / name, {**stored, "labels": LABELS})
    path = str(tmp_path / name)
    check(open_codes(path, LEVELS, CLASSES), arrays, LABELS)
    check(open_codes(path, LEVELS, []), arrays, np.zeros(5))


def test_a_single_level_may_be_one_array_of_any_name(tmp_path):
    top = maps()["top"]
    np.save(tmp_path / "tokens.npy", top)
    source = open_codes(str(tmp_path / "tokens.npy"), LEVELS[:1], [])
    np.testing.assert_array_equal(source.read(ROWS)[0][0], top[ROWS])
    # One of many is not read whole.
    assert isinstance(source._maps[0], np.memmap)


def test_a_file_an_image_is_read(tmp_path):
    arrays = maps()
    names = [f"{CLASSES[label]}/{i}.npz" for i, label in enumerate(LABELS)]
    for i, name in enumerate(names):
        save_codes(str(tmp_path / name), {k: x[i] for k, x in arrays.items()})
    order = np.argsort(names)
    arrays = {key: array[order] for key, array in arrays.items()}
    source = open_codes(str(tmp_path), LEVELS, CLASSES)
    check(source, arrays, LABELS[order])
    assert source.read(ROWS)[2] == [names[i].encode() for i in order[ROWS]]
    check(open_codes(str(tmp_path), LEVELS, []), arrays, np.zeros(5))
    message = "0.npz: expected a file in the subfolder .* bird, cat"
    with pytest.raises(UserError, match=message):
        open_codes(str(tmp_path), LEVELS, ["bird", "cat"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top": np.zeros((5, 3, 2), int)}, r"top: .*\(5, 2, 3\) or \(5, 6\)"),
        ({"top": np.zeros((4, 6), int)}, r"bottom: .*\(4, 4, 6\)"),
        ({"top": np.zeros((5, 6))}, "top: expected integers. Found: float64"),
        ({"top": np.zeros((), int)}, r"top: .* Found: \(\)"),
        ({"middle": LABELS}, "expected the arrays top, bottom and labels"),
        ({"labels": LABELS[:4]}, r"labels: .*\(5,\).* Found: \(4,\)"),
        ({"labels": LABELS + 1}, "labels: .* from 0 to 1. Received: 2"),
        ({"labels": LABELS - 1.0}, "labels: expected integers"),
        ({"labels": None}, "expected an array labels"),
        ({"labels": np.array([None] * 5)}, "codes.npz cannot be read"),
    ],
)
def test_other_arrays_are_refused(tmp_path, changes, message):
    arrays = {**maps(), "labels": LABELS, **changes}
    arrays = {key: x for key, x in arrays.items() if x is not None}
    path = tmp_path / "codes.npz"
    save(path, arrays)
    with pytest.raises(UserError, match=f"{path}.*{message}|{message}") as end:
        open_codes(str(path), LEVELS, CLASSES)
    assert str(path) in str(end.value)


@pytest.mark.parametrize("code", [-1, 600])
def test_codes_of_no_codeword_are_refused(tmp_path, code):
    arrays = maps()
    arrays["bottom"][3, 1, 1] = code
    save(tmp_path / "codes.npz", arrays)
    source = open_codes(str(tmp_path / "codes.npz"), LEVELS, [])
    source.read(ROWS[:2])
    message = f"codes.npz: `bottom`: .* at most 599. Received: {code}"
    with pytest.raises(UserError, match=message):
        source.read(ROWS)
    own = {key: array[3] for key, array in arrays.items()}
    save_codes(str(tmp_path / "files" / "3.npz"), own)
    source = open_codes(str(tmp_path / "files"), LEVELS, [])
    with pytest.raises(UserError, match=f"3.npz: `bottom`: .*{code}"):
        source.read(np.array([0]))


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="no: there is no such file"):
        open_codes(str(tmp_path / "no"), LEVELS, [])
    with pytest.raises(UserError, match=r"expected \.npy files, or an \.npz"):
        open_codes(str(tmp_path), LEVELS, [])
    for name in ("a.npz", "a.npy"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 damaged")
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            open_codes(str(tmp_path / name), LEVELS, [])


def test_whatever_is_damaged_the_file_is_named(tmp_path):
    np.savez_compressed(tmp_path / "codes.npz", bottom=maps()["bottom"])
    whole = (tmp_path / "codes.npz").read_bytes()
    rng = np.random.default_rng(0)
    # Of the compressed numbers.
    for start in rng.integers(200, len(whole) - 200, size=20):
        data = whole[:start] + rng.bytes(8) + whole[start + 8 :]
        (tmp_path / "codes.npz").write_bytes(data)
        with pytest.raises(UserError, match="codes.npz cannot be read"):
            open_codes(str(tmp_path / "codes.npz"), LEVELS[1:], [])

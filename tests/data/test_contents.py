"""What is known of a folder's images is kept, but not what may pass."""

import hashlib
import os

import numpy as np
import pytest
from PIL import Image

from vqvae2_tf.data import contents
from vqvae2_tf.errors import UserError
from vqvae2_tf.files import atomic

NAMES = ["0.png", "1.png", "2.png"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "p").mkdir()
    for i, name in enumerate(NAMES):
        pixels = np.full((4, 4, 3), 50 * i, "uint8")
        Image.fromarray(pixels).save(tmp_path / "p" / name)
    return tmp_path / "p"


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that are read."""
    names = []

    def read(path):
        names.append(os.path.basename(path))
        return original(path)

    original = atomic.read_bytes
    monkeypatch.setattr(contents.atomic, "read_bytes", read)
    return names


def look(folder, names=NAMES):
    return contents.look(str(folder), names, str(folder.parent / "index"))


def images_read(reads):
    found = sorted(name for name in reads if name.endswith(".png"))
    reads.clear()
    return found


def test_hashes_are_those_of_the_files(folder):
    hashes, broken = look(folder)
    assert hashes == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in NAMES
    }
    assert not broken


def test_only_changed_files_are_read_again(folder, reads):
    first = look(folder)
    assert images_read(reads) == NAMES
    assert look(folder) == first
    assert images_read(reads) == []
    os.utime(folder / "1.png", ns=(1, 1))
    (folder / "2.png").write_bytes(b"no image")
    hashes, broken = look(folder)
    assert images_read(reads) == ["1.png", "2.png"]
    assert hashes == {name: first[0][name] for name in NAMES[:2]}
    assert list(broken) == ["2.png"]
    assert look(folder) == (hashes, broken)
    assert images_read(reads) == []


def test_another_decoder_looks_at_broken_files_again(
    folder, reads, monkeypatch
):
    (folder / "2.png").write_bytes(b"no image")
    look(folder)
    images_read(reads)
    monkeypatch.setattr(contents.PIL, "__version__", "99")
    look(folder)
    assert images_read(reads) == ["2.png"]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"decoder": 1, "files": []}',
        '{"decoder": 1, "files": {"a": 1}}',
    ],
)
def test_a_damaged_index_is_made_anew(folder, text):
    first = look(folder)
    (index,) = (folder.parent / "index").iterdir()
    index.write_text(text)
    assert look(folder) == first


def test_nothing_is_kept_of_a_file_that_cannot_be_read_now(folder, monkeypatch):
    first = look(folder, NAMES[:2])

    def refuse(path):
        if path.endswith("2.png"):
            raise PermissionError("not now")
        return original(path)

    original = atomic.read_bytes
    with monkeypatch.context() as patch:
        patch.setattr(contents.atomic, "read_bytes", refuse)
        with pytest.raises(UserError, match=r"2\.png cannot be read .*not now"):
            look(folder)
    hashes, broken = look(folder)
    assert not broken
    assert hashes.keys() == set(NAMES)
    assert hashes.items() > first[0].items()


def test_an_interrupted_look_is_not_lost(folder, monkeypatch, reads):
    def interrupt(data, channels):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(contents.decoding, "decode_image", interrupt)
        with pytest.raises(KeyboardInterrupt):
            look(folder, NAMES)
    assert len(look(folder)[0]) == 3
    images_read(reads)
    assert look(folder)[0]
    assert images_read(reads) == []

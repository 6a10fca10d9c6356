"""Files are complete or do not exist."""

import errno

import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.files import atomic
from vqvae2_tf.files.atomic import check_file_writable
from vqvae2_tf.files.atomic import check_writable
from vqvae2_tf.files.atomic import read_json
from vqvae2_tf.files.atomic import replacing
from vqvae2_tf.files.atomic import write_json
from vqvae2_tf.files.atomic import write_text


def test_a_failed_write_keeps_the_existing_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(str(path), "old")

    def fail():
        with replacing(str(path)) as temporary:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write("new")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_only_the_chief_writes(tmp_path, monkeypatch):
    write_text(str(tmp_path / "file.txt"), "old")
    monkeypatch.setattr(atomic, "is_chief", False)
    for name in ("file.txt", "folder/new.txt"):
        write_text(str(tmp_path / name), "new")
    atomic.check_writable("output", str(tmp_path / "folder"))
    assert (tmp_path / "file.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "file.txt"]


def test_a_folder_replaces_the_existing_one(tmp_path):
    write_text(str(tmp_path / "folder" / "old.txt"), "old")
    with replacing(str(tmp_path / "folder")) as temporary:
        write_text(f"{temporary}/new.txt", "new")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "new.txt"]


def test_a_folder_in_place_of_a_file_is_reported(tmp_path):
    (tmp_path / "a.txt").mkdir()
    (tmp_path / "b").write_text("a file")
    for path in (tmp_path / "a.txt", tmp_path / "b" / "c.txt"):
        with pytest.raises(UserError, match=f"{path} cannot be written"):
            write_text(str(path), "text")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "b"}


def test_json_comes_back(tmp_path):
    path = str(tmp_path / "a.json")
    write_json(path, {"a": [1, None, 0.1]})
    assert read_json(path, "remove it") == {"a": [1, None, 0.1]}


@pytest.mark.parametrize("data", [b"", b'{"a": 1', b"[1]", b"\xff"])
def test_damaged_json_is_reported_with_advice(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.json is damaged; remove it\."):
        read_json(str(tmp_path / "a.json"), "remove it")


def test_checking_a_folder_leaves_nothing_behind(tmp_path):
    check_writable("output", str(tmp_path / "new"))
    check_writable("output", str(tmp_path))
    check_file_writable("output", str(tmp_path / "new" / "a.txt"))
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="^--output=.* expected a file"):
        check_file_writable("output", str(tmp_path))
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(UserError, match="^--output=.* expected a folder"):
        check_writable("output", str(tmp_path / "a.txt"))
    assert (tmp_path / "a.txt").read_text() == "a"

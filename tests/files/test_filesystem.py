"""Local files and TensorFlow's behave the same."""

import subprocess
import sys

import pytest

from vqvae2_tf.files import filesystem


@pytest.fixture(params=["local", "remote"])
def root(request, tmp_path):
    # TensorFlow's ram:// goes where gs:// does: through tf.io.gfile.
    return str(tmp_path) if request.param == "local" else f"ram:/{tmp_path}"


def write(path, data):
    with filesystem.opened(path, "wb") as file:
        file.write(data)


def read(path):
    with filesystem.opened(path, "rb") as file:
        return file.read()


def test_files_are_written_renamed_and_removed(root):
    folder = f"{root}/a/b"
    filesystem.make_folders(folder)
    filesystem.make_folders(folder)
    assert filesystem.is_folder(folder)
    write(f"{folder}/new", b"new")
    write(f"{folder}/old", b"old")
    assert not filesystem.is_folder(f"{folder}/new")
    filesystem.rename(f"{folder}/new", f"{folder}/old")
    assert read(f"{folder}/old") == b"new"
    assert not filesystem.exists(f"{folder}/new")
    filesystem.remove(f"{folder}/old")
    assert not filesystem.exists(f"{folder}/old")
    filesystem.remove(f"{folder}/old")
    write(f"{folder}/file", b"")
    filesystem.remove(f"{root}/a")
    assert not filesystem.exists(f"{folder}/file")


def test_folders_are_renamed_and_removed_with_all_in_them(root):
    filesystem.make_folders(f"{root}/one/deep/empty")
    write(f"{root}/one/deep/file", b"deep")
    write(f"{root}/one/file", b"file")
    filesystem.make_folders(f"{root}/other")
    filesystem.rename(f"{root}/one", f"{root}/other/two")
    assert read(f"{root}/other/two/deep/file") == b"deep"
    assert read(f"{root}/other/two/file") == b"file"
    assert not filesystem.exists(f"{root}/one")
    filesystem.remove(f"{root}/other/two")
    assert not filesystem.exists(f"{root}/other/two/deep/file")
    assert not filesystem.is_folder(f"{root}/other/two")


def test_a_missing_file_is_an_os_error(root):
    with pytest.raises(OSError):
        read(f"{root}/missing")


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    filesystem.remove(str(tmp_path / "link"))
    assert not (tmp_path / "link").exists()
    assert (tmp_path / "folder" / "file").exists()


def test_local_files_need_no_tensorflow(tmp_path):
    program = """
import sys
sys.modules["tensorflow"] = None
from vqvae2_tf.files import atomic
atomic.write_json(sys.argv[1], {"a": 1})
assert atomic.read_json(sys.argv[1], "") == {"a": 1}
"""
    path = tmp_path / "folder" / "file.json"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    assert path.exists()

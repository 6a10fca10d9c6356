"""Files are whole or not there."""

import errno
import subprocess
import sys

import pytest
import tensorflow as tf

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import is_disk_full
from vqvae2_tf.files.atomic import replacing
from vqvae2_tf.files.atomic import write_text
from vqvae2_tf.files.lock import lock


def test_a_failed_write_keeps_what_was_there(tmp_path):
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


def test_a_held_folder_is_refused_until_its_process_ends(tmp_path):
    folder = tmp_path / "new" / "folder"
    script = (
        "import sys, time; from vqvae2_tf.files.lock import lock\n"
        f"with lock({str(folder)!r}): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "held\n"
            with (
                pytest.raises(UserError, match=str(folder)),
                lock(str(folder)),
            ):
                pass
        finally:
            process.kill()
    with lock(str(folder)):
        pass
    assert not list(folder.iterdir())


def test_a_full_disk_is_recognised_behind_other_errors():
    full = OSError(errno.ENOSPC, "No space left on device")
    wrapped = RuntimeError("could not save")
    wrapped.__cause__ = full
    by_words = tf.errors.ResourceExhaustedError(
        None, None, "x.tempstate; No space left on device"
    )
    assert is_disk_full(full)
    assert is_disk_full(wrapped)
    assert is_disk_full(by_words)
    assert not is_disk_full(OSError(errno.ENOENT, "No such file"))


def test_a_folder_in_a_files_place_is_told(tmp_path):
    (tmp_path / "a.txt").mkdir()
    (tmp_path / "b").write_text("a file")
    for path in (tmp_path / "a.txt", tmp_path / "b" / "c.txt"):
        with pytest.raises(UserError, match=f"{path} cannot be written"):
            write_text(str(path), "text")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "b"}

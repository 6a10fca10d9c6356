"""One process at a time works in a folder."""

import contextlib
import subprocess
import sys

import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.files.lock import lock


@contextlib.contextmanager
def locked_by_another(folder, seconds):
    """Another process locks a folder for a time."""
    script = (
        "import sys, time; from vqvae2_tf.files.lock import lock\n"
        f"with lock({str(folder)!r}):\n"
        f"    print('locked', flush=True); time.sleep({seconds})"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "locked\n"
            yield process
        finally:
            process.kill()


def test_a_locked_folder_is_refused_until_its_process_ends(tmp_path):
    folder = tmp_path / "new" / "folder"
    with (
        locked_by_another(folder, 60),
        pytest.raises(UserError, match=str(folder)),
        lock(str(folder)),
    ):
        pass
    with lock(str(folder)):
        pass
    assert not list(folder.iterdir())


def test_waiting_ends_with_the_other_process(tmp_path, capsys):
    with (
        locked_by_another(tmp_path, 1) as process,
        lock(str(tmp_path), wait=True),
    ):
        process.wait(timeout=60)
    assert (
        f"waiting for another process in {tmp_path}" in capsys.readouterr().out
    )

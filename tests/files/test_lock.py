"""One process at a time works in a folder."""

import subprocess
import sys

import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.files.lock import lock


def test_a_locked_folder_is_refused_until_its_process_ends(tmp_path):
    folder = tmp_path / "new" / "folder"
    script = (
        "import sys, time; from vqvae2_tf.files.lock import lock\n"
        f"with lock({str(folder)!r}):\n"
        "    print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "locked\n"
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

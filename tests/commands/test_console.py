"""What is shown, and what goes to the log, in processes of their own."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
# What libraries write, and then what this package does.
WRITE = """
import logging, os, sys, warnings
from vqvae2_tf.commands import console
own = "from absl import logging; logging.warning('own warning')"
def write():
    os.write(2, b"others 1\\n")
    logging.getLogger("tensorflow").warning("others 2")
    warnings.warn("others 3")
    os.system("echo others 4 >&2")
    print("own print", file=sys.stderr)
    exec(compile(own, console.__file__, "exec"))
with console.own_words_only():
    write()
    {then}
print("after", file=sys.stderr)
os.write(2, b"after in C")
"""
OWN = ["own print", "warning: own warning"]
OTHERS = [f"others {i + 1}" for i in range(4)]


def run(folder, then, level="3"):
    """The exit status and the lines of standard error of `WRITE`."""
    (folder / "tmp").mkdir(exist_ok=True)
    result = subprocess.run(
        [sys.executable, "-c", WRITE.format(then=then)],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(folder / "tmp"),
            "TF_CPP_MIN_LOG_LEVEL": level,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert not result.stdout
    return result.returncode, result.stderr.splitlines()


def assert_all_in(words, lines):
    for word in words:
        assert sum(word in line for line in lines) == 1, (word, lines)


def test_others_words_are_not_shown(tmp_path):
    assert run(tmp_path, "") == (0, [*OWN, "after", "after in C"])
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize(
    ("then", "end"),
    [("sys.exit('error: a sentence.')", "error: a sentence."), ("exit(1)", "")],
)
def test_an_exit_shows_its_sentence_alone(tmp_path, then, end):
    assert run(tmp_path, then) == (1, [*OWN, *([end] if end else [])])
    assert not list((tmp_path / "tmp").iterdir())


def test_the_log_is_kept_and_appended_to(tmp_path):
    then = "console.keep_log('log.txt'); os.write(2, b'later\\n')"
    for count in (1, 2):
        assert run(tmp_path, then)[1] == [*OWN, "after", "after in C"]
        text = (tmp_path / "log.txt").read_text()
        for word in (*OTHERS, "later"):
            assert text.count(word) == count
        assert "own" not in text
    assert not list((tmp_path / "tmp").iterdir())


def test_each_run_of_a_process_has_its_log(tmp_path):
    then = "; ".join(
        f"console.keep_log('{name}'); os.write(2, b'{word}\\n')"
        for name, word in [("1.txt", "earlier"), ("2.txt", "later")]
    )
    assert run(tmp_path, then) == (0, [*OWN, "after", "after in C"])
    first, second = [(tmp_path / f"{i}.txt").read_text() for i in (1, 2)]
    for word in (*OTHERS, "earlier"):
        assert word in first and word not in second
    assert "later" in second and "later" not in first
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize(
    ("then", "status"),
    [
        ("os.abort()", -signal.SIGABRT),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("raise ValueError('unexpected')", 1),
    ],
)
@pytest.mark.parametrize("log", ["", "log.txt"])
def test_a_crash_shows_the_end_of_the_log(tmp_path, then, status, log):
    keep = f"console.keep_log('{log}'); " * bool(log)
    found, lines = run(tmp_path, keep + then)
    assert found == status
    assert_all_in([*OWN, *OTHERS], lines)
    if status == 1:
        assert lines[-1] == "ValueError: unexpected"
    (line,) = [line for line in lines if line.startswith("The end of ")]
    named = tmp_path / line.removeprefix("The end of ").removesuffix(":")
    assert named.is_file()
    assert (named.name == log) == bool(log)


def test_no_log_is_kept_on_other_machines(tmp_path):
    keep = "console.keep_log('gs://bucket/log.txt')"
    assert run(tmp_path, keep) == (0, [*OWN, "after", "after in C"])
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]


def test_all_is_shown_to_those_who_ask_for_it(tmp_path):
    status, lines = run(tmp_path, "console.keep_log('log.txt')", level="0")
    assert status == 0
    assert_all_in(["own print", "own warning", *OTHERS], lines)
    assert not (tmp_path / "log.txt").exists()

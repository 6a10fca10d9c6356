"""What scripts say when they fail."""

import pytest
import tensorflow as tf
from absl import flags

from vqvae2_tf.commands import cli as command


@pytest.fixture
def define():
    """Defines flags for a test."""
    before = set(flags.FLAGS)

    def define_flag(name, kind=flags.DEFINE_integer, default=1):
        kind(name, default, "Of a test.")

    yield define_flag
    for flag in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, flag)


def test_an_empty_path_is_told(define):
    define("output", flags.DEFINE_string, None)
    with pytest.raises(SystemExit, match="--output: expected a value"):
        command.run(lambda: None, ["script.py", "--output="])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "error: out of memory."),
        (["batch_size"], "a smaller --batch_size and start again to go on."),
        (
            ["batch_size", "prior_batch_size"],
            "--batch_size or, of a prior, --prior_batch_size, and another "
            "--run_dir.",
        ),
    ],
)
def test_a_full_memory_is_told_with_what_the_flags_can_do(
    define, names, message
):
    for name in names:
        define(name)

    def fail():
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    with pytest.raises(SystemExit) as end:
        command.run(fail, ["script.py"])
    assert str(end.value).endswith(message)

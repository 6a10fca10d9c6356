"""One sentence for each error that a user can do something about."""

import errno

import pytest
import tensorflow as tf

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import is_disk_full
from vqvae2_tf.errors import is_out_of_memory
from vqvae2_tf.errors import one_line
from vqvae2_tf.errors import sentence_for
from vqvae2_tf.errors import shorten

FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_recognised_behind_other_errors():
    wrapped = RuntimeError("could not save")
    wrapped.__cause__ = FULL
    by_words = tf.errors.ResourceExhaustedError(
        None, None, "x.tempstate; No space left on device"
    )
    assert is_disk_full(FULL)
    assert is_disk_full(wrapped)
    assert is_disk_full(by_words)
    assert not is_disk_full(OSError(errno.ENOENT, "No such file"))


@pytest.mark.parametrize(
    ("error", "start", "end"),
    [
        (UserError("--seed: expected 1."), "error: --seed", "expected 1."),
        (KeyboardInterrupt(), "Interrupted. ", " again."),
        (FULL, "error: the disk is full; ", " to resume."),
        (
            tf.errors.ResourceExhaustedError(None, None, "OOM"),
            "error: out of memory; give a smaller",
            "--batch_size.",
        ),
    ],
)
def test_errors_become_sentences(error, start, end):
    sentence = sentence_for(error, "give a smaller --batch_size")
    assert sentence.startswith(start)
    assert sentence.endswith(end)


def test_a_full_memory_is_reported_without_advice():
    error = tf.errors.ResourceExhaustedError(None, None, "OOM")
    assert sentence_for(error) == "error: out of memory."


def test_jax_tells_a_full_memory_from_other_errors():
    error = type("JaxRuntimeError", (RuntimeError,), {})
    assert is_out_of_memory(error("RESOURCE_EXHAUSTED: Out of memory"))
    assert not is_out_of_memory(error("INVALID_ARGUMENT: shapes"))


def test_unexpected_errors_have_no_sentence():
    assert sentence_for(ValueError("not a user's")) is None


def test_texts_are_made_short():
    assert one_line(ValueError("two\n  lines")) == "two lines"
    assert shorten(["a", "b"]) == "a, b"
    assert shorten(list("abcdefg")) == "a, b, c, d, e and 2 more"

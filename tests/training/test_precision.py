"""Which precision is chosen."""

import numpy as np
import pytest
import tensorflow as tf

from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.training import precision


def test_bfloat16_is_chosen_where_the_processor_has_units(monkeypatch):
    for flags, expected in (
        (["avx2", "amx_bf16"], "bfloat16"),
        (["avx512_bf16"], "bfloat16"),
        (["avx2", "avx512f"], "float32"),
    ):
        monkeypatch.setattr(precision, "_cpu_flags", lambda flags=flags: flags)
        name, reason = precision.choose_precision("auto")
        assert name == expected
        assert "processor" in reason


def test_a_given_precision_is_used():
    for name in ("float32", "bfloat16"):
        assert precision.choose_precision(name)[0] == name


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_weights_and_images_are_float32(name):
    model = VQVAE2((2, 2), 4, 2, 1, 6, 3, dtype=precision.dtype_policy(name))
    images = np.zeros((2, 8, 8, 3), "float32")
    outputs = model(images)
    assert outputs["reconstruction"].dtype == tf.float32
    assert {v.dtype for v in model.trainable_variables} == {"float32"}

"""Which arithmetic is chosen, and that it changes little."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training import test_loop
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


def test_what_the_user_says_is_taken():
    for name in ("float32", "bfloat16"):
        assert precision.choose_precision(name)[0] == name


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_weights_and_pictures_are_float32(name):
    model = VQVAE2((2, 2), 4, 2, 1, 6, 3, dtype=precision.dtype_policy(name))
    images = np.zeros((2, 8, 8, 3), "float32")
    outputs = model(images)
    assert outputs["reconstruction"].dtype == tf.float32
    assert {v.dtype for v in model.trainable_variables} == {"float32"}


def test_training_in_bfloat16_ends_near_float32(tmp_path):
    ends = {}
    for name in ("float32", "bfloat16"):

        def make(strategy, name=name):
            dtype = precision.dtype_policy(name)
            keras.utils.set_random_seed(0)
            with strategy.scope():
                model = VQVAE2((2, 2), 8, 4, 1, 6, 3, seed=0, dtype=dtype)
                model.build()
            return model

        values, metrics = test_loop.train(
            tmp_path / name, 60, make, validate_every=60
        )
        assert all(np.isfinite(v).all() for v in values)
        ends[name] = metrics["mse"]
    assert ends["bfloat16"] == pytest.approx(ends["float32"], rel=0.2)

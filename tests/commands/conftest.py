"""SavedModels that are loaded, and compiled, once a process."""

import functools

import pytest
import tensorflow as tf

from vqvae2_tf.export import load

# Else most of a verb's time is spent on it.
load_once = functools.cache(tf.saved_model.load)
generator_once = functools.cache(load.Generator)


@pytest.fixture(autouse=True)
def _load_once(monkeypatch):
    monkeypatch.setattr(tf.saved_model, "load", load_once)
    monkeypatch.setattr(load, "Generator", generator_once)

"""An export from another backend, in a process of TensorFlow."""

import json
import pathlib

import keras
import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.export.in_tensorflow import in_tensorflow


def no_export(path):
    raise ValueError(f"cannot write {path}")


def export(path, models, values):
    """What arrives in the process."""
    found = [model.name for model in models]
    pathlib.Path(path).write_text(json.dumps([found, values]))


def test_networks_and_values_arrive(monkeypatch, tmp_path):
    model = keras.Sequential([keras.Input((2,))], name="network")
    values = {"temperature": [0.5, 1.0], "model": ["x"]}
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    path = tmp_path / "found.json"
    in_tensorflow(export)(str(path), [model], values)
    assert json.loads(path.read_text()) == [["network"], values]


def test_a_failed_export_is_told(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UserError, match="SavedModel: .*cannot write a") as end:
        in_tensorflow(no_export)("a")
    assert "\n" not in str(end.value)

"""An export from another backend fails in one sentence."""

import keras
import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.export.in_tensorflow import in_tensorflow


def no_export(path):
    raise ValueError(f"cannot write {path}")


def test_a_failed_export_is_told(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UserError, match="SavedModel: .*cannot write a") as end:
        in_tensorflow(no_export)("a")
    assert "\n" not in str(end.value)

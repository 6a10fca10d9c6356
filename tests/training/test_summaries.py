"""Training curves are written once, by one of several hosts."""

import pytest

from vqvae2_tf.files import atomic
from vqvae2_tf.training.summaries import TensorBoard


@pytest.mark.parametrize("is_chief", [True, False])
def test_only_the_chief_writes(tmp_path, monkeypatch, is_chief):
    monkeypatch.setattr(atomic, "is_chief", is_chief)
    TensorBoard(str(tmp_path)).scalars("train", {"loss": 1.0}, 1)
    assert bool(list(tmp_path.iterdir())) == is_chief

"""A run's SavedModels, written again elsewhere."""

import shutil

import numpy as np
import pytest

from tests.helpers import normal
from tests.small_run import IMAGE_SIZE
from tests.small_run import call
from vqvae2_tf.commands import export
from vqvae2_tf.export import load


@pytest.mark.large
def test_a_run_is_exported_again_over_other_models(small_run, tmp_path, capsys):
    own = small_run.run_dir / "saved_models"
    # Some other model, which must not pass for the run's.
    shutil.copytree(own / "generator", tmp_path / "autoencoder")
    arguments = [f"--run_dir={small_run.run_dir}", f"--output={tmp_path}"]
    assert call(export, *arguments) is None
    assert "autoencoder and generator written" in capsys.readouterr().out
    images = np.tanh(normal(2, *IMAGE_SIZE, 3))
    models = [load.Autoencoder(str(f / "autoencoder")) for f in (own, tmp_path)]
    first, second = (model.encode(images) for model in models)
    for name in ("top", "bottom"):
        np.testing.assert_array_equal(first[name], second[name])
    generator = load.Generator(str(tmp_path / "generator"))
    flags = {flag.name: flag.default for flag in generator.sampling_flags}
    assert flags["temperature"] == [1.0, 1.0]

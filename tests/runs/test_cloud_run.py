"""A run whose folder is in the cloud: all of it through TensorFlow's files."""

import pytest
import tensorflow as tf

from tests import small_run
from vqvae2_tf.commands import sample
from vqvae2_tf.commands import train
from vqvae2_tf.export import load


@pytest.mark.large
def test_a_run_in_the_cloud_is_made_trained_on_and_sampled(tmp_path):
    # ram:// goes where gs:// does.
    images, run = tmp_path / "images", "ram://bucket/run"
    small_run.save_images(images)
    arguments = [
        f"--dataset=folder:{images}",
        f"--data_dir={tmp_path / 'data'}",
        f"--run_dir={run}",
        *small_run.FLAGS,
    ]
    assert small_run.call(train, *arguments) is None
    more = ["--steps=6", "--prior_steps=6"]
    assert small_run.call(train, *arguments, *more) is None
    entries = set(tf.io.gfile.listdir(run))
    entries = {entry.rstrip("/") for entry in entries}
    assert {"steps_4", "samples.png", "metrics.json"} <= entries
    for one in (run, f"{run}/steps_4"):
        output = f"{one}_samples"
        arguments = [f"--run_dir={one}", f"--output={output}", "--count=1"]
        assert small_run.call(sample, *arguments) is None
        assert tf.io.gfile.exists(f"{output}/grid.png")
    left = [
        name
        for _, folders, files in tf.io.gfile.walk("ram://bucket")
        for name in [*folders, *files]
        if name.startswith(".writing")
    ]
    assert not left
    path = load.find("generator", run, None)
    assert load.Generator(path).class_names == list(small_run.CLASSES)

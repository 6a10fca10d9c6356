"""What belongs to an autoencoder of fewer steps becomes a run of its own."""

import json

import pytest

from tests.small_run import contents
from vqvae2_tf.files import filesystem
from vqvae2_tf.runs import earlier
from vqvae2_tf.runs import folder


def set_aside(run_dir, **changes):
    """As a command with other flags than the run's does it."""
    earlier.set_aside(folder.read_config(str(run_dir)).replace(**changes))


def test_it_has_the_flags_and_the_files_of_its_training(own_run):
    before = contents(own_run)
    config = json.loads(before["config.json"])
    more = {**config, "prior_steps": [9, 9]}
    (own_run / "config.json").write_text(json.dumps(more))
    set_aside(own_run, temperature=[0.5, 0.5], steps=8, prior_steps=[9, 9])
    aside = contents(own_run / "steps_4")
    own = json.loads(aside.pop("config.json"))
    run_dir = str(own_run / "steps_4")
    assert own == {**config, "run_dir": run_dir, "prior_steps": [4, 4]}
    for name in ("model.keras", "best.keras", "result.json"):
        assert aside[f"autoencoder/{name}"] == before[f"autoencoder/{name}"]
    left = {
        name
        for name in before
        if not name.startswith(("autoencoder/", "config.json", "log.txt"))
    }
    assert left <= aside.keys()


@pytest.mark.parametrize("moves", range(7))
def test_an_interruption_loses_nothing(own_run, monkeypatch, moves):
    before = contents(own_run)
    rename, done = filesystem.rename, []

    def stopped(*paths):
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(paths)
        rename(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, "rename", stopped)
        with pytest.raises(KeyboardInterrupt):
            set_aside(own_run)
    # By these the next start knows that it is to be done.
    assert (own_run / "prior_bottom" / "model.keras").exists()
    set_aside(own_run)
    aside = contents(own_run / "steps_4")
    for name in ("samples.png", "metrics.json", "reconstructions.png"):
        assert aside[name] == before[name]
    assert json.loads(aside["config.json"])["prior_steps"] == [4, 4]

"""Whose run a folder is, and whether it can be used."""

import json
import shutil

import pytest

from tests.small_run import PRECISION
from tests.small_run import assert_one_sentence
from tests.small_run import contents
from tests.small_run import parse
from vqvae2_tf.autoencoders import vqvae2
from vqvae2_tf.errors import UserError
from vqvae2_tf.flags import Flag
from vqvae2_tf.runs import configuration
from vqvae2_tf.runs import folder
from vqvae2_tf.runs.pipeline import Run


def change_config(run_dir, **changes):
    """Changes a run's config.json; None removes an entry."""
    path = run_dir / "config.json"
    values = {**json.loads(path.read_text()), **changes}
    values = {k: v for k, v in values.items() if v is not None}
    path.write_text(json.dumps(values))


def test_a_configuration_comes_back(small_run):
    config = configuration.parse(small_run.arguments(small_run.run_dir))
    found = folder.read_config(str(small_run.run_dir))
    config = config.replace(data_version=found.data_version)
    assert found.to_json() == config.to_json()
    assert found.levels == config.levels


def test_what_is_no_folder_of_a_run_is_reported(tmp_path):
    with pytest.raises(UserError, match=f"--run_dir={tmp_path}.*config.json"):
        folder.read_config(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json is damaged"):
        folder.read_config(str(tmp_path))


def test_a_run_of_other_flags_is_refused(small_run, own_run):
    before = contents(own_run)
    message = small_run.train(own_run, "--num_codes=7", "--steps_per_loop=3")
    assert_one_sentence(message, "--num_codes (6 then, 7 now)", "--overwrite")
    assert "steps_per_loop" not in message
    other = {"float32": "bfloat16", "bfloat16": "float32"}[PRECISION]
    message = small_run.train(own_run, f"--precision={other}")
    changed = f"--precision ('{PRECISION}' then, '{other}' now)"
    assert_one_sentence(message, changed)
    assert contents(own_run) == before


def test_steps_may_only_rise(small_run, own_run):
    before = contents(own_run)
    message = small_run.train(own_run, "--steps=3")
    assert_one_sentence(message, "--steps (4 then, 3 now)", "fewer")
    message = small_run.train(own_run, "--prior_steps=8,2")
    assert_one_sentence(message, "--prior_steps (4,4 then, 8,2 now)", "fewer")
    assert contents(own_run) == before


def test_a_schedule_may_fix_the_number_of_steps(small_run, own_run):
    change_config(own_run, schedule="cosine", prior_schedule="cosine")
    before = contents(own_run)
    for flag in ("steps", "prior_steps"):
        schedule = f"--{flag.replace('steps', 'schedule')}=cosine"
        arguments = ["--schedule=cosine", "--prior_schedule=cosine"]
        message = small_run.train(own_run, *arguments, f"--{flag}=8")
        assert_one_sentence(message, f"--{flag} (4", schedule, "every step")
    assert contents(own_run) == before


def test_other_images_are_refused(small_run, own_run):
    # As if an image of the folder had changed.
    change_config(own_run, data_version="folder/images-0123/1.1.0")
    message = small_run.train(own_run)
    assert_one_sentence(message, "other images", "--dataset=folder:")
    # Priors alone are trained without a look at the images.
    prior = ["--stage=prior", "--level=top"]
    assert small_run.train(own_run, *prior) is None


def test_images_that_were_moved_or_copied_go_on(
    small_run, own_run, tmp_path, capsys
):
    images = shutil.copytree(
        small_run.folder / "images",
        tmp_path / "elsewhere",
        copy_function=shutil.copyfile,
    )
    own = [f"--dataset=folder:{images}", f"--data_dir={tmp_path / 'tfds'}"]
    before = contents(own_run)
    assert small_run.train(own_run, *own) is None
    assert "autoencoder: already finished" in capsys.readouterr().out
    after = contents(own_run)
    changed = [name for name in before if before[name] != after.get(name)]
    assert changed == ["config.json"]
    (images / "dark" / "0.png").unlink()
    message = small_run.train(own_run, *own)
    assert_one_sentence(message, "other images", "--dataset=folder:")


def test_the_images_of_a_run_that_began_with_a_prior_are_remembered(
    small_run, own_run, tmp_path, monkeypatch
):
    monkeypatch.setattr(Run, "run", lambda run: None)
    path = own_run / "config.json"
    config = {**json.loads(path.read_text()), "data_version": None}
    path.write_text(json.dumps(config))
    stage = "--stage=autoencoder"
    assert small_run.train(own_run, stage) is None
    found = json.loads(path.read_text())["data_version"]
    assert found.startswith("folder/")
    images = shutil.copytree(small_run.folder / "images", tmp_path / "images")
    own = [f"--dataset=folder:{images}", f"--data_dir={tmp_path / 'tfds'}"]
    assert small_run.train(own_run, stage, *own) is None
    # Where they are now, for commands that read it from there.
    assert json.loads(path.read_text())["dataset"] == f"folder:{images}"
    (images / "dark" / "0.png").unlink()
    message = small_run.train(own_run, stage, *own)
    assert_one_sentence(message, "other images", "--dataset=folder:")


def test_a_run_in_the_folder_of_its_images_is_refused(small_run, tmp_path):
    images = shutil.copytree(small_run.folder / "images", tmp_path / "images")
    message = small_run.train(
        images / "deep" / "run", f"--dataset=folder:{images}"
    )
    assert_one_sentence(message, "--run_dir=", "must not be in", str(images))
    assert not (images / "deep").exists()


def test_flags_newer_than_a_run_have_their_defaults(small_run, own_run):
    before = contents(own_run)
    change_config(own_run, level_dropout=None, prior_kernel_size=None)
    config = folder.read_config(str(own_run))
    assert config.level_dropout == 0.0
    assert config.prior_kernel_size == [5, 5]
    change_config(own_run, top_k=None, augmenter=None)
    message = small_run.train(own_run, "--level_dropout=0.5")
    assert_one_sentence(message, "--level_dropout (0.0 then, 0.5 now)")
    assert small_run.train(own_run) is None
    after = contents(own_run)
    config = json.loads(after.pop("config.json"))
    assert config == {
        **json.loads(before.pop("config.json")),
        "run_dir": str(own_run),
    }
    assert after == before


def test_a_flag_added_to_a_network_or_to_all_runs_resumes_old_runs(
    small_run, own_run, monkeypatch
):
    class Newer(vqvae2.VQVAE2):
        FLAGS = (*vqvae2.FLAGS, Flag("sharpness", 1.0, "Of the images.", 0.0))

        def __init__(self, *args, sharpness=1.0, **kwargs):
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(vqvae2, "Model", Newer)
    added = (
        Flag("mood", "calm", "Of the run."),
        Flag("moods", [2], "One a level.", 1, per_level=True),
    )
    common = (*configuration.COMMON, *added)
    monkeypatch.setattr(configuration, "COMMON", common)
    config = folder.read_config(str(own_run))
    assert (config.sharpness, config.mood, config.moods) == (
        1.0,
        "calm",
        [2, 2],
    )
    message = small_run.train(own_run, "--sharpness=2", "--moods=2,3")
    assert_one_sentence(
        message,
        "--moods ([2, 2] then, [2, 3] now)",
        "--sharpness (1.0 then, 2.0 now)",
    )
    assert small_run.train(own_run) is None
    assert json.loads((own_run / "config.json").read_text())["mood"] == "calm"


def test_a_run_of_an_earlier_version_is_refused(small_run, own_run):
    change_config(
        own_run,
        autoencoder=None,
        prior=None,
        levels=None,
        level_names=["top", "bottom"],
        map_sizes=[[2, 3], [4, 6]],
    )
    before = contents(own_run)
    for arguments in ([], ["--overwrite"]):
        message = small_run.train(own_run, *arguments)
        assert_one_sentence(message, "config.json", "earlier version")
    with pytest.raises(UserError, match="earlier version"):
        folder.read_config(str(own_run))
    assert contents(own_run) == before


@pytest.mark.parametrize(
    ("changes", "exports"),
    [({"samples_per_class": 1}, False), ({"temperature": [0.5, 0.5]}, True)],
)
def test_other_flags_of_sampling_draw_the_samples_again(
    own_run, changes, exports
):
    before = contents(own_run)
    config = folder.read_config(str(own_run)).replace(**changes)
    folder.check(config)
    folder.claim(config)
    after = contents(own_run)
    changed = {name for name in before if before[name] != after.get(name)}
    generator = {x for x in before if x.startswith("saved_models/generator/")}
    assert generator
    # The temperatures are the generator's defaults.
    again = generator if exports else set()
    assert changed == {"samples.png", "config.json", *again}


def test_a_folder_that_cannot_be_written_to_is_reported(tmp_path):
    (tmp_path / "file").write_text("no folder")
    for name in ("file", "file/run"):
        with pytest.raises(UserError, match="run_dir"):
            folder.check(parse(f"--run_dir={tmp_path / name}"))
    assert (tmp_path / "file").read_text() == "no folder"


def test_a_folder_that_is_no_run_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(UserError, match=f"--run_dir={tmp_path} is neither"):
        folder.check(parse(f"--run_dir={tmp_path}", "--overwrite"))
    assert (tmp_path / "thesis.txt").exists()
    # What a stopped process leaves is no obstacle.
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".writing-1-2.json").write_text("{")
    folder.check(parse(f"--run_dir={tmp_path / 'run'}"))


def test_overwriting_waits_for_the_checks_and_spares_other_files(
    small_run, own_run
):
    (own_run / "notes.txt").write_text("irreplaceable")
    before = contents(own_run)
    message = small_run.train(own_run, "--overwrite", "--strategy=mirrored")
    assert_one_sentence(message, "--strategy=mirrored")
    assert contents(own_run) == before
    folder.claim(parse(f"--run_dir={own_run}", "--overwrite"))
    left = {path.name for path in own_run.iterdir()}
    assert left == {"config.json", "notes.txt"}


def test_overwriting_removes_the_earlier_runs_levels(own_run):
    size = {"height": 2, "width": 3, "num_codes": 6}
    levels = [{"name": name, **size} for name in ("middle_1", "bottom")]
    change_config(own_run, levels=levels)
    shutil.move(own_run / "prior_top", own_run / "prior_middle_1")
    (own_run / "steps_2").mkdir()
    folder.claim(parse(f"--run_dir={own_run}", "--overwrite"))
    assert {path.name for path in own_run.iterdir()} == {"config.json"}

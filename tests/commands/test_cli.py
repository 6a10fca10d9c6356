"""Finding a verb, running it, and what it prints when it fails."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from tests.small_run import FLAGS
from tests.small_run import call
from vqvae2_tf.commands import cli
from vqvae2_tf.commands import encode
from vqvae2_tf.commands import extract_codes
from vqvae2_tf.commands import sample
from vqvae2_tf.commands import train
from vqvae2_tf.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]
VERBS = {
    "codebook",
    "decode",
    "encode",
    "evaluate",
    "export",
    "extract_codes",
    "import_codes",
    "reconstruct",
    "sample",
    "show_augmentation",
    "train",
}


def run_process(folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        # JAX, which tests import, lowers the level of their own process.
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_verb_is_listed_with_what_it_does(monkeypatch, capsys):
    summaries = cli.verbs()
    assert summaries.keys() == VERBS
    for arguments in ([], ["--help"], ["help"]):
        monkeypatch.setattr(sys, "argv", ["vqvae2", *arguments])
        cli.main()
        lines = capsys.readouterr().out.splitlines()
        for verb, summary in summaries.items():
            assert f"  {verb:<20}{summary}" in lines
            assert summary.endswith(".")


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_a_help_of_its_own(monkeypatch, capsys, verb):
    monkeypatch.setattr(sys, "argv", ["vqvae2", verb, "--help"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(cli.verbs()[verb])
    assert f"vqvae2 {verb} " in text
    # Its flags are those of each measure.
    assert "(default: " in text or verb == "evaluate"


def test_a_verb_that_does_not_exist_is_reported(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["vqvae2", "trian", "--steps=3"])
    with pytest.raises(SystemExit, match="error: there is no verb trian"):
        cli.main()


def test_training_runs_as_a_script_from_anywhere(tmp_path):
    script = ROOT / "experiments" / "train.py"
    result = run_process(tmp_path, script, "--help")
    assert result.returncode == 0
    assert "--prior_heads" in result.stdout
    # A flagfile is found there, a folder of images here.
    (tmp_path / "images").mkdir()
    arguments = ["--flagfile=folder.flags", "--dataset=folder:images"]
    result = run_process(tmp_path, "-m", "vqvae2_tf", "train", *arguments)
    assert result.returncode == 1
    # TensorFlow, which is imported then, says nothing.
    (sentence,) = result.stderr.splitlines()
    assert sentence.startswith(f"error: --dataset=folder:{tmp_path / 'images'}")
    assert list(tmp_path.iterdir()) == [tmp_path / "images"]


KERAS_PROGRAM = """
import sys
from vqvae2_tf.commands import cli
cli.main(["train", "--dry_run", *sys.argv[1:]])

import keras
import numpy as np
from vqvae2_tf.runs import configuration
from vqvae2_tf.runs import networks
config = configuration.parse(sys.argv[1:])
model = networks.make_autoencoder(config)
outputs = model(np.zeros((1, 8, 12, 3), "float32"))
assert keras.backend.backend() == "tensorflow"
assert outputs["reconstruction"].shape == (1, 8, 12, 3)
assert [codes.shape for codes in outputs["codes"]] == [(1, 2, 3), (1, 4, 6)]
optimizer = networks.training_plan(config, model).make_optimizer()
optimizer.build(model.trainable_variables)
variables = model.trainable_variables + optimizer.variables
dtypes = {keras.backend.standardize_dtype(v.dtype) for v in variables}
assert dtypes - {"int32", "int64"} == {"float32"}, dtypes
"""


def test_a_users_own_keras_settings_do_not_matter(tmp_path):
    settings = {
        "image_data_format": "channels_first",
        "floatx": "float64",
        "backend": "jax",
    }
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    arguments = ["--dataset=emoji64", "--run_dir=x", *FLAGS]
    environment = {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": ""}
    result = run_process(
        tmp_path, "-c", KERAS_PROGRAM, *arguments, **environment
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "autoencoder: " in result.stdout


@pytest.mark.parametrize("backend", ["torch", "tensorflo"])
def test_a_backend_that_cannot_train_is_reported(tmp_path, backend):
    arguments = ["--flagfile=emoji.flags", f"--run_dir={tmp_path / 'run'}"]
    script = ROOT / "experiments" / "train.py"
    result = run_process(tmp_path, script, *arguments, KERAS_BACKEND=backend)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    sentence = result.stderr.splitlines()[-1]
    assert sentence.startswith("error: ")
    assert f"KERAS_BACKEND={backend}: " in sentence
    assert list(tmp_path.iterdir()) == []


def test_flagfiles_are_found_in_experiments(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    seen = []
    cli.run(seen.extend, ["--flagfile=emoji.flags", "--steps=3"])
    assert "--dataset=emoji64" in seen
    assert seen[-1] == "--steps=3"


@pytest.mark.parametrize(
    ("verb", "end"),
    [
        (extract_codes, "error: out of memory."),
        (encode, "; give a smaller --batch_size."),
        (sample, "; give a smaller --batch_size."),
        (
            train,
            "; give --prior_accumulation_steps or --prior_rematerialize for a "
            "prior, or a smaller --batch_size and another --run_dir.",
        ),
    ],
)
def test_a_full_memory_is_reported_with_what_the_flags_can_do(
    monkeypatch, verb, end
):
    def fail(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr("vqvae2_tf.flags.parse", fail)
    message = call(verb)
    assert message.startswith("error: out of memory")
    assert message.endswith(end)


def test_errors_of_users_are_sentences_and_others_are_not():
    def fail(arguments):
        raise {"user": UserError, "other": ValueError}[arguments[0]]("text")

    with pytest.raises(SystemExit) as end:
        cli.run(fail, ["user"])
    assert end.value.code == "error: text"
    with pytest.raises(ValueError, match="text"):
        cli.run(fail, ["other"])


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
)
def test_a_signal_cleans_up_and_ends_in_a_sentence(number, capsys):
    # A process that a shell starts in the background ignores SIGINT.
    earlier = signal.signal(number, signal.default_int_handler)
    cleaned = []

    def work(arguments):
        try:
            # One may come while Python ignores exceptions, in a callback.
            while True:
                os.kill(os.getpid(), number)
                time.sleep(0.01)
        finally:
            cleaned.append(True)

    with pytest.raises(SystemExit) as end:
        cli.run(work, [])
    assert end.value.code == 75
    assert capsys.readouterr().err.startswith("Interrupted.")
    assert cleaned == [True]
    assert signal.signal(number, earlier) == signal.default_int_handler


def test_without_a_home_folder_none_is_made(tmp_path):
    # As `os.path.expanduser` answers a user without an entry and HOME.
    arguments = ["-m", "vqvae2_tf", "train", "--help"]
    result = run_process(tmp_path, *arguments, HOME="~")
    assert result.returncode == 0
    assert not list(tmp_path.iterdir())

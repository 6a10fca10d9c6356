"""Codes of another tokenizer become codes to train priors on."""

import json

import numpy as np
import pytest

from tests.helpers import integers
from tests.small_run import assert_one_sentence
from tests.small_run import call
from tests.small_run import contents
from vqvae2_tf.codes import records
from vqvae2_tf.commands import import_codes
from vqvae2_tf.commands import train

LEVELS = [
    {"name": "top", "height": 4, "width": 4, "num_codes": 4},
    {"name": "bottom", "height": 8, "width": 8, "num_codes": 5},
]
CLASSES = ["down", "up"]


def arrays(count, seed):
    """Random codes of both levels, and labels."""
    return {
        "top": integers(4, count, 4, 4, seed=seed),
        "bottom": integers(5, count, 64, seed=seed),
        "labels": integers(2, count, seed=seed),
    }


def write_card(tmp_path, **card):
    path = tmp_path / "card.json"
    card = {"levels": LEVELS, "class_names": CLASSES, **card}
    path.write_text(json.dumps(card))
    return path


def imported(tmp_path, *arguments, count=20):
    """What the verb exits with, for random codes."""
    np.savez(tmp_path / "codes.npz", **arrays(count, 0))
    return call(
        import_codes,
        f"--input={tmp_path / 'codes.npz'}",
        f"--card={write_card(tmp_path)}",
        f"--output={tmp_path / 'codes'}",
        *arguments,
    )


@pytest.mark.large
def test_codes_are_written_with_the_flags_that_train_on_them(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert imported(tmp_path, "--output=codes") is None
    text = "codes: codes of 18 (train) and 2 (validation) images"
    assert text in capsys.readouterr().out
    card = records.read_card("codes")
    assert card["class_names"] == CLASSES
    before = contents(tmp_path / "codes")
    assert imported(tmp_path) is None
    assert contents(tmp_path / "codes") == before
    # From another working directory too.
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    arguments = ["--flagfile=../codes/train.flags", "--run_dir=run"]
    assert call(train, *arguments, "--dry_run") is None
    text = capsys.readouterr().out
    assert "codes: 18 to train on; 2 held out; 2 classes (down, up)" in text
    # 16 codes of 4 and 64 of 5.
    assert f"codes: {16 * 2 + 64 * np.log2(5):.0f} bits an image" in text
    assert "bottom prior: " in text
    assert not (tmp_path / "other" / "run").exists()


def test_held_out_codes_may_be_given(tmp_path):
    codes = arrays(6, 1)
    np.savez(tmp_path / "other.npz", **codes)
    assert imported(tmp_path, f"--validation={tmp_path / 'other.npz'}") is None
    card = records.read_card(str(tmp_path / "codes"))
    assert card["splits"] == {"train": 20, "validation": 6}
    examples = records.code_examples(
        str(tmp_path / "codes"), card, "validation"
    )
    found = examples.open().map(examples.read).as_numpy_iterator()
    assert sorted(example["codes"][0].tobytes() for example in found) == sorted(
        top.astype("int32").tobytes() for top in codes["top"]
    )


def test_mistakes_are_reported_in_one_sentence(tmp_path):
    message = imported(tmp_path, "--input=nothing")
    assert_one_sentence(message, "nothing: there is no such file or folder")
    message = imported(tmp_path, "--card=nothing")
    assert_one_sentence(message, "--card=nothing: there is no such file")
    vectors = [{**level, "channels": 3} for level in LEVELS]
    (tmp_path / "other").mkdir()
    card = write_card(tmp_path / "other", levels=vectors)
    message = imported(tmp_path, f"--card={card}")
    assert_one_sentence(message, f"--card={card}", "expected JSON such as")
    message = imported(tmp_path, count=1)
    assert_one_sentence(message, "--input: expected two images")
    assert not (tmp_path / "codes").exists()
    assert imported(tmp_path) is None
    message = imported(tmp_path, "--seed=1")
    assert_one_sentence(message, "codes/codes.json", "fingerprint (")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--stage=codes"], ["--stage: ", "all or prior. Received: codes"]),
        (["--codes_dir="], ["--codes_dir"]),
        (["--codes_dir=nothing"], ["nothing is not a folder of extracted"]),
        (["--code_levels=top:4x4:4"], ["codes of other levels: top 4x4 of 4"]),
        (["--code_levels=top"], ["--code_levels: expected NAME:", ": top"]),
        (["--code_levels="], ["--code_levels must hold"]),
        pytest.param(
            ["--decoder=nothing"],
            ["--decoder=/", "/nothing cannot be loaded"],
            marks=pytest.mark.large,
        ),
        (["--sample_classes=left"], ["--sample_classes", "down, up"]),
        (["--level=top"], ["--level needs --stage=prior"]),
        (["--steps_per_loop=0"], ["--steps_per_loop"]),
        (["--strides=2"], ["--strides is a flag of --autoencoder="]),
    ],
)
def test_training_that_cannot_work_is_refused(tmp_path, arguments, words):
    assert imported(tmp_path) is None
    flagfile = f"--flagfile={tmp_path / 'codes' / 'train.flags'}"
    run_dir = f"--run_dir={tmp_path / 'run'}"
    message = call(train, flagfile, run_dir, *arguments)
    assert_one_sentence(message, *words)
    assert not (tmp_path / "run").exists()

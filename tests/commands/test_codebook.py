"""Codewords as images, and how much they are used."""

import keras
import numpy as np
import pytest
from PIL import Image

from tests.helpers import array
from tests.small_run import IMAGE_SIZE
from tests.small_run import NUM_CODES
from tests.small_run import assert_one_sentence
from tests.small_run import call
from vqvae2_tf.codes import records
from vqvae2_tf.commands import codebook
from vqvae2_tf.files.atomic import read_json
from vqvae2_tf.files.atomic import write_json
from vqvae2_tf.files.grids import to_uint8


def test_codebooks_are_shown_and_counted(own_run, tmp_path, capsys):
    model = keras.saving.load_model(own_run / "autoencoder" / "model.keras")
    levels = model.levels(IMAGE_SIZE)
    top = np.array([[0, 0, 1], [0, 0, 1]])
    bottom = np.arange(24).reshape(4, 6) % NUM_CODES
    folder = str(own_run / "codes")
    card = records.read_card(folder)
    card["splits"] = {"train": 1, "validation": 1}
    write_json(f"{folder}/{records.CARD}", card)
    for split in card["splits"]:
        (path,) = records.shard_paths(folder, split, card)
        records.write_shard(path, levels, [([top, bottom], 0, b"")])
    output = tmp_path / "codebook"
    arguments = [f"--run_dir={own_run}", f"--output={output}"]
    assert call(codebook, *arguments) is None
    table = read_json(str(output / "usage.json"), "")
    counts = table["train"]["top"]
    assert counts["counts"] == [4, 2, 0, 0, 0, 0]
    assert counts["usage"] == pytest.approx(2 / 6)
    # exp of the entropy of shares 2/3 and 1/3.
    assert counts["perplexity"] == pytest.approx(3 / 2 ** (2 / 3))
    assert table["validation"]["bottom"]["perplexity"] == pytest.approx(6)
    assert "train       top" in capsys.readouterr().out
    shown = np.asarray(Image.open(output / "bottom.png"))
    unknown = np.full((NUM_CODES, *levels[0].shape), -1)
    alone = np.broadcast_to(
        np.arange(NUM_CODES)[:, None, None], (NUM_CODES, *levels[1].shape)
    )
    images = to_uint8(array(model.decode([unknown, alone])))
    # Tiles at the right end of the row, 2 pixels between them.
    for code in range(NUM_CODES):
        right = shown.shape[1] - 2 - (NUM_CODES - 1 - code) * (12 + 2)
        tile = shown[2:10, right - 12 : right].astype(int)
        assert np.abs(tile - images[code]).max() <= 1


def test_without_codes_there_is_no_usage(small_run, tmp_path, capsys):
    saved_model = small_run.run_dir / "saved_models" / "autoencoder"
    output = tmp_path / "codebook"
    done = call(codebook, f"--saved_model={saved_model}", f"--output={output}")
    assert done is None
    assert {p.name for p in output.iterdir()} == {"top.png", "bottom.png"}
    assert "No codes to count" in capsys.readouterr().out


def test_a_run_that_does_not_exist_is_reported(tmp_path):
    output = tmp_path / "out"
    message = call(codebook, "--run_dir=nowhere", f"--output={output}")
    assert_one_sentence(message, "--run_dir=nowhere")
    assert not output.exists()

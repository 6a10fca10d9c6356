"""Codes of a run's images, or of others."""

from tests.small_run import assert_one_sentence
from tests.small_run import call
from tests.small_run import save_images
from vqvae2_tf.codes import records
from vqvae2_tf.commands import extract_codes


def test_codes_of_other_images_are_extracted(small_run, tmp_path, capsys):
    output = tmp_path / "codes"
    arguments = [f"--run_dir={small_run.run_dir}", f"--output={output}"]
    save_images(tmp_path / "others", size=(9, 13), count=3)
    others = [
        f"--dataset=folder:{tmp_path / 'others'}",
        f"--data_dir={tmp_path / 'tfds'}",
    ]
    assert call(extract_codes, *arguments, *others) is None
    card = records.read_card(str(output))
    # Two passes over the images to train on.
    train, validation = card["splits"].values()
    assert train // 2 + validation == 9
    assert f"{train} (train) and {validation}" in capsys.readouterr().out
    own = records.read_card(str(small_run.run_dir / "codes"))
    for name in ("fingerprint", "levels", "class_names"):
        assert card[name] == own[name]
    message = call(extract_codes, *arguments)
    assert_one_sentence(message, "codes/codes.json", "images (", "splits (")


def test_a_run_without_its_autoencoder_is_reported(own_run, tmp_path):
    (own_run / "autoencoder" / "model.keras").unlink()
    output = tmp_path / "codes"
    arguments = [f"--run_dir={own_run}", f"--output={output}"]
    message = call(extract_codes, *arguments)
    assert_one_sentence(message, "autoencoder/model.keras does not exist")
    assert not output.exists()

"""A folder's files are all made with the same settings."""

import json

import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.files.provenance import claim


def test_the_same_settings_may_claim_a_folder_again(tmp_path):
    for _ in range(2):
        claim(str(tmp_path), "card.json", {"by": [1, None]}, [])
    assert json.loads((tmp_path / "card.json").read_text()) == {"by": [1, None]}


def test_different_settings_are_named_with_both_values(tmp_path):
    claim(str(tmp_path), "card.json", {"by": 2, "of": 1, "seed": 0}, [])
    with pytest.raises(UserError) as caught:
        claim(str(tmp_path), "card.json", {"by": 3, "of": 1}, [], "go away")
    assert str(caught.value) == (
        f"{tmp_path}/card.json: these files were made with different "
        "settings: by (2 then, 3 now), seed (0 then, not set now); go away."
    )


def test_files_of_unknown_settings_are_refused(tmp_path):
    path = tmp_path / "a.png"
    claim(str(tmp_path / "other"), "card.json", {}, [str(path)])
    path.touch()
    with pytest.raises(UserError, match=r"a\.png exists, but no card\.json"):
        claim(str(tmp_path), "card.json", {}, [str(path)])
    assert not (tmp_path / "card.json").exists()

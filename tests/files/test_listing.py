"""Files of a folder by their endings."""

import os

import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.files.listing import list_files


def test_files_of_subfolders_are_listed_by_their_endings(tmp_path):
    names = ["b.png", "a/c.PNG", "a/d.jpg", "e.txt", ".hidden.png", "png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_files(f"{tmp_path}/", [".png", ".jpg"]) == [
        "a/c.PNG",
        "a/d.jpg",
        "b.png",
    ]


def test_names_that_are_not_utf8_are_reported(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb"):
        pass
    with pytest.raises(UserError, match="not UTF-8.*xff.png"):
        list_files(str(tmp_path), [".png"])

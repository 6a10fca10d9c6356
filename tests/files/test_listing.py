"""Files of a folder by their endings, and what is left out."""

import os

import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.files.listing import is_within
from vqvae2_tf.files.listing import list_files


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def paths_of(folder):
    return list_files(str(folder), [".png"]).paths


def test_files_of_subfolders_are_listed_by_their_endings(tmp_path):
    touch(tmp_path, "b.png", "a/c.PNG", "a/d.jpg", "e.txt", "f.TXT", "png")
    listing = list_files(f"{tmp_path}/", [".png", ".jpg"])
    assert listing.paths == ["a/c.PNG", "a/d.jpg", "b.png"]
    assert listing.describe_left_out() == "2 .txt, 1 without ending"
    listing = list_files(str(tmp_path), [".png", ".jpg"], ["e.txt", "png"])
    assert listing.describe_left_out() == "1 .txt"


@pytest.mark.parametrize(
    "name",
    [".hidden", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "a/.git", "lost+found"],
)
def test_hidden_and_system_folders_are_left_out(tmp_path, name):
    touch(tmp_path, "a/a.png", f"{name}/b.png", f"{name}/deep/c.png")
    listing = list_files(str(tmp_path), [".png"])
    assert listing.paths == ["a/a.png"]
    assert listing.describe_left_out() == f"{name} (hidden or of the system)"


def test_hidden_files_are_left_out(tmp_path):
    touch(tmp_path, "a.png", ".a.png", "._a.png")
    assert paths_of(tmp_path) == ["a.png"]


def test_links_are_followed_but_no_folder_is_entered_twice(tmp_path):
    touch(tmp_path, "above/p/c/0.png", "above/2.png", "elsewhere/1.png")
    folder = tmp_path / "above" / "p"
    (folder / "c" / "up").symlink_to(folder)
    (folder / "c" / "self").symlink_to(folder / "c")
    (folder / "c" / "above").symlink_to(tmp_path)
    # Before the folder's own name, which counts all the same.
    (folder / "a").symlink_to(folder / "c")
    (folder / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(folder / "c")
    (folder / "d.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    listing = list_files(str(folder), [".png"])
    assert listing.paths == ["b/1.png", "c/0.png", "d.png"]
    (links,) = listing.left_out.values()
    assert sorted(links) == ["a", "b/back", "c/above", "c/self", "c/up"]
    assert "(a link to a folder that is read)" in listing.describe_left_out()


def test_folders_that_link_to_each_other_are_read_once(tmp_path):
    names = [f"{i}" for i in range(12)]
    for name in names:
        touch(tmp_path, f"{name}/{name}.png")
        for other in names:
            if other != name:
                (tmp_path / name / other).symlink_to(tmp_path / other)
    assert len(paths_of(tmp_path)) == 12


def test_only_regular_files_are_listed(tmp_path):
    touch(tmp_path, "a.png")
    (tmp_path / "nothing.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    listing = list_files(str(tmp_path), [".png"])
    assert listing.paths == ["a.png"]
    assert sorted(listing.left_out["a broken link"]) == [
        "loop.png",
        "nothing.png",
    ]
    assert listing.left_out["no regular file"] == ["pipe.png"]


def test_a_folder_that_cannot_be_read_is_reported(tmp_path, monkeypatch):
    touch(tmp_path, "a/a.png", "b/b.png")

    def scan(folder):
        if os.path.basename(folder) == "b":
            raise PermissionError(13, "Permission denied")
        return original(folder)

    original = os.scandir
    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(UserError, match="/b cannot be read: Permission denied"):
        paths_of(tmp_path)


def test_names_that_are_not_utf8_are_reported(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb"):
        pass
    with pytest.raises(UserError, match=r"not UTF-8.*xff\.png"):
        paths_of(tmp_path)


def test_a_folder_is_within_itself_and_those_above(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for path in ("a", "a/b", "link/b"):
        assert is_within(str(tmp_path / path), str(tmp_path / "a"))
    for path in ("", "ab", "b"):
        assert not is_within(str(tmp_path / path), str(tmp_path / "a"))


def test_a_remote_folder_is_within_no_local_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_within("gs://b/run", ".")
    assert not is_within(".", "gs://b")
    assert is_within("gs://b/run/x", "gs://b/run/")
    assert not is_within("gs://b/runs", "gs://b/run")

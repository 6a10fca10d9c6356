"""A folder of files turned into another one, whatever is in it."""

import json

import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.files.atomic import write_text
from vqvae2_tf.files.conversion import Conversion
from vqvae2_tf.files.conversion import convert_folder


class Halving:
    """Halves the numbers in .txt files, and keeps the batches it was given."""

    def __init__(self, fails_at=None):
        self.batches = []
        self.fails_at = fails_at

    def read(self, path):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if not text.isdecimal():
            raise UserError("is no number")
        return int(text)

    def convert(self, numbers):
        if len(self.batches) == self.fails_at:
            raise KeyboardInterrupt
        self.batches.append(numbers)
        return [number / 2 for number in numbers]

    def write(self, path, number):
        write_text(path, str(number))

    def __call__(self, folder, settings=None, **kwargs):
        convert_folder(
            Conversion(
                [".txt", ".text"], ".half", self.read, self.convert, self.write
            ),
            f"{folder}/in",
            f"{folder}/out",
            batch_size=2,
            card="half.json",
            settings={"by": 2} if settings is None else settings,
            **kwargs,
        )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, number in {
        "a": 1,
        "b": 2,
        "c": 3,
        "deep/a": 4,
        "deep/b": 5,
    }.items():
        (tmp_path / "in" / f"{name}.txt").write_text(str(number))
    (tmp_path / "in" / "notes.md").write_text("none of these")
    return tmp_path


def results(folder):
    return {
        str(path.relative_to(folder / "out")): float(path.read_text())
        for path in (folder / "out").rglob("*.half")
    }


HALVES = {"a.half": 0.5, "b.half": 1, "c.half": 1.5}
ALL = {**HALVES, "deep/a.half": 2, "deep/b.half": 2.5}


def test_every_file_is_converted_where_it_lies(folder):
    halving = Halving()
    halving(folder)
    assert results(folder) == ALL
    assert halving.batches == [[1, 2], [3, 4], [5]]


def test_broken_files_are_skipped_with_a_count(folder, capsys):
    (folder / "in" / "b.txt").write_text("two")
    with pytest.raises(UserError, match="1 of 5 files"):
        Halving()(folder)
    assert "b.txt: is no number" in capsys.readouterr().err
    assert results(folder) == {n: x for n, x in ALL.items() if n != "b.half"}


def test_files_that_share_a_name_keep_their_endings(folder):
    for name, number in {"c.text": 9, "b.txt.text": 7}.items():
        (folder / "in" / name).write_text(str(number))
    Halving()(folder)
    expected = {n: x for n, x in ALL.items() if n != "c.half"}
    assert results(folder) == {
        **expected,
        "b.txt.text.half": 3.5,
        "c.txt.half": 1.5,
        "c.text.half": 4.5,
    }


def test_files_of_another_folder_do_not_pass_for_done(folder):
    Halving()(folder)
    Halving()(folder / "in" / "..")  # The same.
    other = folder / "elsewhere"
    (other / "in").mkdir(parents=True)
    (other / "in" / "a.txt").write_text("9")
    (other / "out").symlink_to(folder / "out")
    with pytest.raises(UserError, match="input .*; give another folder"):
        Halving()(other)


def test_a_target_that_cannot_be_written_is_reported(folder):
    (folder / "out").write_text("a file")
    with pytest.raises(UserError, match="--output=.*out: expected a folder"):
        Halving()(folder)


def test_stopped_and_started_again_it_does_the_rest(folder):
    with pytest.raises(KeyboardInterrupt):
        Halving(fails_at=1)(folder)
    assert results(folder) == {"a.half": 0.5, "b.half": 1}
    halving = Halving()
    halving(folder)
    assert halving.batches == [[3, 4], [5]]
    assert results(folder) == ALL


def test_overwriting_converts_all_files_again(folder):
    Halving()(folder)
    halving = Halving()
    halving(folder, {"by": 3}, overwrite=True)
    assert len(sum(halving.batches, [])) == 5
    card = json.loads((folder / "out" / "half.json").read_text())
    assert card == {"by": 3, "input": str(folder / "in")}


def test_overwriting_leaves_no_files_of_other_settings(folder):
    Halving()(folder)
    moved = (folder / "in" / "a.txt").rename(folder / "a.txt")
    before = results(folder)
    with pytest.raises(UserError, match=r"a\.half, of other settings"):
        Halving()(folder, {"by": 3}, overwrite=True)
    assert results(folder) == before
    # Of the same settings it may stay.
    Halving()(folder, overwrite=True)
    assert results(folder) == before
    moved.unlink()
    (folder / "out" / "a.half").unlink()
    Halving()(folder, {"by": 3}, overwrite=True)
    assert "a.half" not in results(folder)


def test_files_of_other_settings_do_not_pass_for_done(folder):
    Halving()(folder)
    with pytest.raises(UserError, match=r"settings: by \(2 then, 3 now\)"):
        Halving()(folder, {"by": 3})
    (folder / "out" / "half.json").unlink()
    with pytest.raises(UserError, match="half.json"):
        Halving()(folder)


def test_a_stopped_overwriting_leaves_nothing_of_before(folder):
    Halving()(folder)
    with pytest.raises(KeyboardInterrupt):
        Halving(fails_at=1)(folder, {"by": 3}, overwrite=True)
    assert results(folder) == {"a.half": 0.5, "b.half": 1}


def test_what_cannot_be_converted_is_reported(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        Halving()(tmp_path)
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match=r"\.txt"):
        Halving()(tmp_path)


def test_results_are_not_written_among_what_is_read(tmp_path):
    (tmp_path / "a.txt").write_text("1")
    halving = Halving()
    conversion = Conversion(
        [".txt"], ".txt", halving.read, halving.convert, halving.write
    )
    for target in (tmp_path, tmp_path / "out"):
        with pytest.raises(UserError, match="must not be in"):
            convert_folder(
                conversion, str(tmp_path), str(target), 1, "half.json", {}
            )
    assert (tmp_path / "a.txt").read_text() == "1"

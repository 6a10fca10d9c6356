"""Flags: their texts, their values and the files they come from."""

import math
import re

import numpy as np
import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.flags import Flag
from vqvae2_tf.flags import changed
from vqvae2_tf.flags import expand_flagfiles
from vqvae2_tf.flags import parse

pytestmark = pytest.mark.any_backend

COUNT = Flag("count", 3, "Number of things.", 1, 9)
RATE = Flag("rate", 0.5, "Share of things.", 0.0, 0.99)
FAST = Flag("fast", False, "Whether it is fast.")
MODE = Flag("mode", "b", "Way of things.", choices=("a", "b"))
NAME = Flag("name", None, "Name of the thing.")
FOLDER = Flag("folder", None, "Where things are.", path=True)
STRIDES = Flag("strides", (4, 2), "Factors.", 2, many=True)
WIDTHS = Flag("widths", 8, "Widths.", 1, per_level=True)
TABLE = [COUNT, RATE, FAST, MODE, NAME, FOLDER, STRIDES, WIDTHS]
DEFAULTS = {
    "count": 3,
    "rate": 0.5,
    "fast": False,
    "mode": "b",
    "name": None,
    "folder": None,
    "strides": [4, 2],
    "widths": 8,
}


class TestFlag:
    @pytest.mark.parametrize(
        ("flag", "text", "value"),
        [
            (COUNT, "9", 9),
            (COUNT, " 1 ", 1),
            (RATE, "0", 0.0),
            (RATE, "9.9e-1", 0.99),
            (FAST, "True", True),
            (FAST, "false", False),
            (MODE, "a", "a"),
            (NAME, "", ""),
            (NAME, "a, b", "a, b"),
            (FOLDER, "runs/a", "runs/a"),
            (STRIDES, "8, 2,2", [8, 2, 2]),
            (STRIDES, "", []),
            (WIDTHS, "16", [16]),
            (WIDTHS, "16,8", [16, 8]),
        ],
    )
    def test_texts(self, flag, text, value):
        parsed = flag.parse(text)
        assert parsed == value
        assert type(parsed) is type(value)

    @pytest.mark.parametrize(
        ("flag", "text", "expected"),
        [
            (COUNT, "0", "a whole number, at least 1, at most 9"),
            (COUNT, "10", "a whole number, at least 1, at most 9"),
            (COUNT, "2.5", "a whole number, at least 1, at most 9"),
            (COUNT, "two", "a whole number, at least 1, at most 9"),
            (COUNT, "", "a whole number, at least 1, at most 9"),
            (RATE, "1.0", "a finite number, at least 0.0, at most 0.99"),
            (RATE, "-1e-9", "a finite number, at least 0.0, at most 0.99"),
            (RATE, "nan", "a finite number, at least 0.0, at most 0.99"),
            (Flag("x", 1.0, ""), "inf", "a finite number"),
            (Flag("x", 1.0, ""), "-inf", "a finite number"),
            (FAST, "yes", "true or false"),
            (MODE, "c", "one of a, b"),
            (FOLDER, "", "a path"),
            (STRIDES, "1", "a whole number, at least 2"),
            (WIDTHS, "0", "a whole number, at least 1, or one for each level"),
            (WIDTHS, ",", "a whole number, at least 1, or one for each level"),
        ],
    )
    def test_texts_that_do_not_fit(self, flag, text, expected):
        message = f"--{flag.name}: expected {expected}. Received: {text!r}"
        with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
            flag.parse(text)

    @pytest.mark.parametrize("flag", [STRIDES, WIDTHS])
    def test_the_one_of_several_that_does_not_fit_is_named(self, flag):
        with pytest.raises(UserError, match="Received: '0'$"):
            flag.parse("4,0,8")

    def test_a_path_may_start_at_home(self, monkeypatch):
        monkeypatch.setenv("HOME", "/home/ann")
        assert FOLDER.parse("~/runs") == "/home/ann/runs"
        assert NAME.parse("~/runs") == "~/runs"

    @pytest.mark.parametrize(
        ("flag", "value"),
        [
            (COUNT, 1),
            (COUNT, np.int64(9)),
            (RATE, 0),
            (RATE, np.float32(0.5)),
            (FAST, True),
            (MODE, "a"),
            (NAME, None),
            (NAME, "any"),
        ],
    )
    def test_values(self, flag, value):
        flag.check(value)

    @pytest.mark.parametrize(
        ("flag", "value"),
        [
            (COUNT, 0),
            (COUNT, 10),
            (COUNT, 2.5),
            (COUNT, "3"),
            (COUNT, None),
            (RATE, 1.0),
            (RATE, math.nan),
            (RATE, -math.inf),
            (MODE, "c"),
            (MODE, 1),
            (NAME, 1),
        ],
    )
    def test_values_that_do_not_fit(self, flag, value):
        message = f"`{flag.name}`: expected {flag.expected}. Received: {value}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            flag.check(value)

    def test_a_choice_has_a_number_in_tensors(self):
        numbered = MODE.numbered()
        assert (numbered.dtype, numbered.minimum, numbered.maximum) == (
            "int32",
            0,
            1,
        )
        assert MODE.to_numbers("b") == 1
        assert MODE.to_numbers(["b", "a", 1]) == [1, 0, 1]
        assert RATE.numbered() is RATE
        assert RATE.to_numbers([0.5, 0.1]) == [0.5, 0.1]
        for flag, value in ((MODE, "c"), (RATE, "a")):
            with pytest.raises(ValueError, match=f"`{flag.name}`: expected"):
                flag.to_numbers(["b" if flag is MODE else 0.1, value])

    @pytest.mark.parametrize(
        ("flag", "values"),
        [
            (COUNT, [[1, 9], [2, 3]]),
            (COUNT, np.float32([1, 2])),
            (RATE, np.float32([0.0, 0.5])),
            (RATE, 0.5),
        ],
    )
    def test_arrays(self, flag, values):
        flag.check_all(values)

    @pytest.mark.parametrize(
        ("flag", "values", "received"),
        [
            (COUNT, [[1, 9], [10, 0]], "10"),
            (COUNT, np.float32([1, 2.5]), "2.5"),
            (RATE, np.float32([0, math.nan]), "nan"),
            (RATE, [math.inf, 0], "inf"),
            (COUNT, [[1, 2], [3]], r"\[\[1, 2\], \[3\]\]"),
            (COUNT, ["1"], r"\['1'\]"),
            (COUNT, None, "None"),
        ],
    )
    def test_arrays_that_do_not_fit(self, flag, values, received):
        message = f"`{flag.name}`: expected {flag.expected}. Received: "
        with pytest.raises(ValueError, match=f"^{message}{received}$"):
            flag.check_all(values)

    def test_an_array_of_nothing_does_not_fit(self):
        with pytest.raises(ValueError, match="`rate`: .* Received: none"):
            RATE.check_all(np.zeros((0, 3)))

    def test_changed(self):
        count, rate = changed([COUNT, RATE], "prior_", per_level=True)
        assert (count.name, rate.name) == ("prior_count", "prior_rate")
        assert count.per_level and count.maximum == 9
        assert not COUNT.per_level


class TestParse:
    def test_defaults(self):
        assert parse(TABLE, []) == (DEFAULTS, set())

    @pytest.mark.parametrize(
        ("arguments", "name", "value"),
        [
            (["--count=4"], "count", 4),
            (["--count", "4"], "count", 4),
            (["-count=4"], "count", 4),
            (["--count=5", "--count=4"], "count", 4),
            (["--fast"], "fast", True),
            (["--fast=false"], "fast", False),
            (["--fast", "--nofast"], "fast", False),
            (["--strides=2"], "strides", [2]),
            (["--name="], "name", ""),
            # The default, but given.
            (["--count=3"], "count", 3),
        ],
    )
    def test_what_is_given(self, arguments, name, value):
        values, given = parse(TABLE, arguments)
        assert values == {**DEFAULTS, name: value}
        assert given == {name}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--cuont=4"], "Unknown command line flag 'cuont'. Did you mean"),
            (["--count"], "Missing value for flag --count"),
            (["--count=0"], "--count: expected a whole number, at least 1"),
            (["--fast=maybe"], "--fast: expected true or false. Received: 'm"),
            (["--fast", "false"], "expected flags only.*Received: false$"),
            (["a", "--fast", "b"], "expected flags only.*Received: a b$"),
            (["--", "--fast"], "expected flags only.*Received: --fast$"),
        ],
    )
    def test_mistakes(self, arguments, message):
        with pytest.raises(UserError, match=f"^{message}"):
            parse(TABLE, arguments)

    def test_required(self):
        table = [Flag("name", None, "Name.", required=True), COUNT]
        with pytest.raises(UserError, match="^--name must be given.$"):
            parse(table, ["--count=4"])
        assert parse(table, ["--name=a"])[1] == {"name"}

    def test_the_first_flag_of_a_name_counts(self):
        other = Flag("count", "many", "Another.")
        assert parse([COUNT, other], [])[0] == {"count": 3}
        with pytest.raises(UserError):
            parse([COUNT, other], ["--count=many"])

    def test_other_flags_are_passed_over(self):
        arguments = ["--other", "x", "word", "--more=1", "--count=4", "--help"]
        assert parse([COUNT], arguments, known_only=True) == (
            {"count": 4},
            {"count"},
        )
        with pytest.raises(UserError, match="--count"):
            parse([COUNT], ["--other=x", "--count=0"], known_only=True)

    @pytest.mark.parametrize("word", ["--help", "-h", "--helpfull"])
    def test_help(self, word, capsys):
        with pytest.raises(SystemExit) as end:
            parse(TABLE, ["--count=0", word], "Counts things.\n")
        assert end.value.code == 0
        text = capsys.readouterr().out
        assert text.startswith("Counts things.\n\n")
        for flag in TABLE:
            assert flag.help in text
        text = " ".join(text.split())
        assert "--strides: Factors. A whole number, at least 2" in text
        assert ", or several with commas between. (default: 4,2)" in text
        assert "--[no]fast: " in text


class TestFlagfiles:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        for name in ("here", "experiments", "here/sub"):
            (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / "here")
        return tmp_path

    def expand(self, folder, *arguments):
        return expand_flagfiles(arguments, ["", str(folder / "experiments")])

    def test_lines_stand_in_the_place_of_the_file(self, folder):
        (folder / "here/a.flags").write_text("# A comment.\n\n --b=1 \n--c\n")
        for given in (["--flagfile=a.flags"], ["-flagfile", "a.flags"]):
            expanded = self.expand(folder, "--a", *given, "--d=ü")
            assert expanded == ["--a", "--b=1", "--c", "--d=ü"]

    def test_the_working_directory_comes_first(self, folder):
        (folder / "experiments/a.flags").write_text("--experiments")
        assert self.expand(folder, "--flagfile=a.flags") == ["--experiments"]
        (folder / "here/a.flags").write_text("--here")
        assert self.expand(folder, "--flagfile=a.flags") == ["--here"]

    def test_the_folder_of_the_naming_file_comes_first(self, folder):
        (folder / "here/sub/a.flags").write_text("--flagfile=b.flags\n--a")
        (folder / "here/b.flags").write_text("--here")
        (folder / "experiments/b.flags").write_text("--experiments")
        argument = "--flagfile=sub/a.flags"
        assert self.expand(folder, argument) == ["--experiments", "--a"]
        (folder / "here/sub/b.flags").write_text("--sub")
        assert self.expand(folder, argument) == ["--sub", "--a"]

    def test_a_file_may_be_included_twice(self, folder):
        (folder / "here/a.flags").write_text("--a")
        (folder / "here/b.flags").write_text(2 * "--flagfile=a.flags\n")
        assert self.expand(folder, "--flagfile=b.flags") == ["--a", "--a"]

    def test_home(self, folder, monkeypatch):
        monkeypatch.setenv("HOME", str(folder / "here/sub"))
        (folder / "here/sub/a.flags").write_text("--a")
        assert self.expand(folder, "--flagfile=~/a.flags") == ["--a"]

    @pytest.mark.parametrize("name", ["a.flags", "sub", ""])
    def test_a_missing_file(self, folder, name):
        message = f"--flagfile={name}: there is no such file"
        with pytest.raises(UserError, match=message):
            self.expand(folder, f"--flagfile={name}")

    def test_a_missing_file_in_a_file(self, folder):
        (folder / "here/a.flags").write_text("--flagfile=b.flags")
        message = r"--flagfile=b.flags \(in .*a.flags\): there is no such file"
        with pytest.raises(UserError, match=message):
            self.expand(folder, "--flagfile=a.flags")

    def test_a_cycle(self, folder):
        (folder / "here/a.flags").write_text("--flagfile=sub/b.flags")
        (folder / "here/sub/b.flags").write_text("--flagfile=../a.flags")
        message = r"--flagfile=../a.flags \(in .*b.flags\): the file includes"
        with pytest.raises(UserError, match=message):
            self.expand(folder, "--flagfile=a.flags")

    def test_a_file_that_is_no_text(self, folder):
        (folder / "here/a.flags").write_bytes(b"\x89PNG\xff")
        with pytest.raises(UserError, match="a.flags: expected a text file"):
            self.expand(folder, "--flagfile=a.flags")

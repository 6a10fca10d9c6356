"""Tables of flags, and their parse. Knows neither Keras nor TensorFlow."""

import dataclasses
import math
import numbers
import os
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from vqvae2_tf.errors import UserError

# What a flag changes: the results of a run, how far it goes, only how it is
# carried out, only the generator that is exported at its end, or only the
# samples that are drawn then.
RESULTS, LENGTH = "results", "length"
CONDUCT, GENERATOR, SAMPLES = "conduct", "generator", "samples"

_WORD = {bool: "true or false", int: "a whole number", float: "a finite number"}
_HELP = ("--help", "-help", "-h", "--helpfull", "--helpshort")


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag, and the argument of the same name that it sets.

    Args:
        name: Without dashes.
        default: Its type, or that of its first element, is the flag's: bool,
            int, float or str. None is a string that is not given.
        help: One sentence that stands alone.
        minimum: Lowest number.
        maximum: Highest number.
        choices: Allowed values; empty for any.
        many: Whether the value is a list, separated by commas.
        per_level: Whether there is one value, or one a level, coarsest first.
        role: `RESULTS`, `LENGTH`, `CONDUCT`, `GENERATOR` or `SAMPLES`.
        path: Whether it names a file or a folder.
        required: Whether it has to be given.
    """

    name: str
    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: Sequence = ()
    many: bool = False
    per_level: bool = False
    role: str = RESULTS
    path: bool = False
    required: bool = False

    @property
    def kind(self) -> type:
        """bool, int, float or str."""
        many = isinstance(self.default, list | tuple)
        one = next(iter(self.default), None) if many else self.default
        return str if one is None else type(one)

    @property
    def dtype(self) -> str:
        """A number's dtype: `int32` or `float32`."""
        return f"{self.kind.__name__}32"

    def numbered(self) -> "Flag":
        """The flag of a tensor: of choices their numbers, from 0 on."""
        if not self.choices:
            return self
        return dataclasses.replace(
            self,
            default=0,
            minimum=0,
            maximum=len(self.choices) - 1,
            choices=(),
        )

    def to_numbers(self, values: Any) -> Any:
        """Values of `numbered`: each choice as its place among the choices.

        Args:
            values: One value, or a list of values. Numbers stay as they are.

        Raises:
            ValueError: If a string is not allowed.
        """
        if isinstance(values, list | tuple):
            return [self.to_numbers(value) for value in values]
        if not isinstance(values, str):
            return values
        self.check(values)
        return self.choices.index(values)

    def parse(self, text: str) -> Any:
        """The value of a text.

        Raises:
            UserError: Naming the flag, what was expected and what was received.
        """
        if not self.many and not self.per_level:
            return self._parse_one(text)
        texts = [part.strip() for part in text.split(",") if part.strip()]
        if self.per_level and not texts:
            raise self._error(text)
        return [self._parse_one(part) for part in texts]

    def _parse_one(self, text):
        try:
            if self.kind is bool:
                text = {"true": True, "false": False}[text.lower()]
            value = os.path.expanduser(text) if self.path else self.kind(text)
            if self.path and value.startswith("~"):
                raise ValueError("no such home folder")
            self.check(value)
        except (ValueError, KeyError) as error:
            raise self._error(text) from error
        return value

    def check(self, value) -> None:
        """Raises `ValueError` unless a bool, number or string is allowed."""
        if self.choices or value is None:
            allowed = value in (self.default, *self.choices)
        elif self.kind is str:
            allowed = isinstance(value, str) and (value or not self.path)
        else:
            low = -math.inf if self.minimum is None else self.minimum
            high = math.inf if self.maximum is None else self.maximum
            allowed = isinstance(value, numbers.Real) and math.isfinite(value)
            allowed = allowed and value == self.kind(value)
            allowed = allowed and low <= value <= high
        if not allowed:
            raise ValueError(self.sentence(value))

    def check_all(self, values) -> None:
        """Raises `ValueError` unless an array's numbers are allowed.

        So it does if there are none: a batch holds one example at least.
        Numbers that are traced (`tf.function`, `jax.jit`) have no values yet
        and pass.
        """
        received = values
        try:
            values = np.asarray(values)
        except (NotImplementedError, TypeError, ValueError) as error:
            if isinstance(values, Sequence):  # Of lists of several lengths.
                raise ValueError(self.sentence(received)) from error
            return
        if values.dtype.kind in "OSU":
            raise ValueError(self.sentence(received))
        if not values.size:
            raise ValueError(empty_batch(self.name))
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        allowed = np.isfinite(values) & (values >= low) & (values <= high)
        if self.kind is int:
            allowed &= np.floor(values) == values
        if not allowed.all():
            raise ValueError(self.sentence(values[~allowed].flat[0]))

    def sentence(self, received="") -> str:
        """What is said about a value that is not allowed."""
        return f"`{self.name}`: expected {self.expected}. Received: {received}"

    @property
    def expected(self) -> str:
        """What the flag takes, in words."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        words = _WORD.get(self.kind, "a path" if self.path else "a value")
        if self.minimum is not None:
            words += f", at least {self.minimum}"
        if self.maximum is not None:
            words += f", at most {self.maximum}"
        return words

    @property
    def each(self) -> str:
        """What `expected` is followed by, if each level has a value."""
        return ", or one for each level" * self.per_level

    def spread(self, value, levels: Sequence[str]) -> list:
        """A list with one value for each level.

        Args:
            value: Such a list, or one value for all levels.
            levels: Names of the levels.

        Raises:
            UserError: If a list has another number of values.
        """
        values = value if isinstance(value, list) else [value]
        if len(values) not in (1, len(levels)):
            raise UserError(
                f"--{self.name}: expected one value, or one for each of "
                f"{', '.join(levels)}. Received: {','.join(map(str, values))}"
            )
        return values * (len(levels) // len(values))

    def _error(self, text):
        return UserError(
            f"--{self.name}: expected {self.expected}{self.each}. Received: "
            f"{text!r}"
        )


def empty_batch(name: str) -> str:
    """What is said about an argument that holds no example."""
    return f"`{name}`: expected a batch of at least one. Received: none"


def changed(table: Iterable[Flag], prefix: str = "", **changes) -> list[Flag]:
    """Flags with a prefix to their names, and other changes."""
    replace = dataclasses.replace
    return [replace(f, name=f"{prefix}{f.name}", **changes) for f in table]


def parse(
    table: Iterable[Flag],
    arguments: Sequence[str],
    usage: str = "",
    known_only: bool = False,
) -> tuple[dict[str, Any], set[str]]:
    """Parses a command line.

    Args:
        table: Flags; the first of several of one name counts.
        arguments: Without the program's name, flagfiles expanded.
        usage: What `--help` prints before the flags.
        known_only: Whether other flags are passed over.

    Returns:
        Tuple of each flag's value, by its name, and the names of those given.

    Raises:
        UserError: In one sentence about the first mistake.
    """
    table = {flag.name: flag for flag in reversed(list(table))}
    values = flags.FlagValues()
    # Else the parse would end at the first value written without "=".
    values.set_gnu_getopt()
    for name, flag in table.items():
        is_list = isinstance(flag.default, list | tuple)
        default = ",".join(map(str, flag.default)) if is_list else flag.default
        text = flag.help
        if flag.kind in (int, float) or flag.choices:
            several = ", or several with commas between" * flag.many
            allowed = f"{flag.expected}{several}{flag.each}."
            text += f" {allowed[0].upper()}{allowed[1:]}"
        text += " (required)" if flag.required else f" (default: {default})"
        # Texts are parsed here and not by absl, so that all errors are alike.
        boolean = flag.kind is bool
        flags.DEFINE_string(name, None, text, values, boolean=boolean)
    if not known_only and any(word in _HELP for word in arguments):
        print(usage.rstrip() + "\n\n" + values.get_help())
        raise SystemExit(0)
    try:
        rest = values(["", *arguments], known_only=known_only)[1:]
    except (flags.Error, ValueError) as error:
        raise UserError(str(error).splitlines()[0]) from error
    if rest and not known_only:
        raise UserError(
            "expected flags only, such as --flag=value or --noflag. Received: "
            f"{' '.join(rest)}"
        )
    results, given = {}, set()
    for name, flag in table.items():
        value = values[name].value
        if flag.required and value in (None, ""):
            raise UserError(f"--{name} must be given.")
        if value is None:
            is_list = isinstance(flag.default, list | tuple)
            results[name] = list(flag.default) if is_list else flag.default
        else:
            results[name] = flag.parse(value)
            given.add(name)
    return results, given


def expand_flagfiles(
    arguments: Sequence[str], folders: Sequence[str] = ("",), files=()
) -> list[str]:
    """Replaces `--flagfile=NAME` by the flags in the file.

    Args:
        arguments: The command line.
        folders: Where a file is looked for, in this order: the working
            directory, or the folder of the flagfile that names it; then
            `experiments`.
        files: The flagfiles that are being expanded.

    Raises:
        UserError: If a file does not exist, is no text, or includes itself.
    """
    expanded = []
    arguments = iter(arguments)
    for argument in arguments:
        option, equals, name = argument.partition("=")
        if option not in ("--flagfile", "-flagfile"):
            expanded.append(argument)
            continue
        name = os.path.expanduser(name if equals else next(arguments, ""))
        paths = [os.path.join(folder, name) for folder in folders]
        path = next(filter(os.path.isfile, paths), None)
        where = f"--flagfile={name}" + (f" (in {files[-1]})" if files else "")
        if path is None:
            raise UserError(f"{where}: there is no such file.")
        if os.path.realpath(path) in files:
            raise UserError(f"{where}: the file includes itself.")
        try:
            with open(path, encoding="utf-8") as file:
                lines = [line.strip() for line in file]
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: expected a text file.") from error
        expanded += expand_flagfiles(
            [line for line in lines if line and not line.startswith("#")],
            [os.path.dirname(path), *folders[1:]],
            (*files, os.path.realpath(path)),
        )
    return expanded

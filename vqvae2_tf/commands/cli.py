"""The command line: finds the verb, runs it, and reports what went wrong."""

import contextlib
import importlib
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from collections.abc import Sequence
from typing import NoReturn

from absl import logging

from vqvae2_tf.commands import console
from vqvae2_tf.errors import one_line
from vqvae2_tf.errors import sentence_for
from vqvae2_tf.flags import expand_flagfiles
from vqvae2_tf.training.interruption import ignore_more_hangups
from vqvae2_tf.training.interruption import stop_signals

# The status of a command that a signal ended: the same command again goes on.
# It is EX_TEMPFAIL of sysexits.h, and an error's is 1.
STOPPED = 75


def verbs() -> dict[str, str]:
    """Each verb and what it does."""
    summaries = {}
    for path in sorted(pathlib.Path(__file__).parent.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "\ndef main(arguments" in text:
            summaries[path.stem] = text.removeprefix('"""').splitlines()[0]
    return summaries


def main(words: Sequence[str] | None = None) -> None:
    """Runs `vqvae2 VERB --flags`.

    Args:
        words: The verb and its flags; the process's own if None.
    """
    words = sys.argv[1:] if words is None else words
    verb, *arguments = words or ["--help"]
    summaries = verbs()
    if verb not in summaries:
        lines = [f"  {name:<20}{text}" for name, text in summaries.items()]
        usage = "\n".join(["usage: vqvae2 VERB --flags\n", *lines])
        if verb in ("--help", "-h", "help"):
            print(usage)
            return
        sys.exit(f"{usage}\n\nerror: there is no verb {verb}.")
    _run_module(f"{__package__}.{verb}", arguments)


def run_script(path: str) -> NoReturn:
    """Runs a script's `main` with the flags of the command line, and exits.

    Called before the script imports Keras, whose own words would be shown.

    Args:
        path: The script's `__file__`, in the first folder of `sys.path`.
    """
    _run_module(pathlib.Path(path).stem, sys.argv[1:])
    sys.exit()


def _run_module(name, arguments):
    with console.own_words_only():
        # TensorFlow is imported here.
        set_up_keras()
        run(importlib.import_module(name).main, arguments)


def set_up_keras() -> None:
    """Sets what networks need, whatever the user's keras.json has."""
    try:
        import keras
    except Exception as error:  # A backend may raise anything.
        sys.exit(
            "error: Keras cannot be imported with KERAS_BACKEND="
            f"{os.environ['KERAS_BACKEND']}: {one_line(error)}"
        )
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    if keras.backend.backend() != "tensorflow":
        # Where TensorFlow is installed, it reads the data, and would take the
        # accelerators' memory.
        with contextlib.suppress(ImportError):
            import tensorflow as tf

            for kind in ("GPU", "TPU"):
                tf.config.set_visible_devices([], kind)


def run(verb: Callable[[list[str]], None], arguments: list[str]) -> None:
    """Runs a verb; reports what goes wrong in one sentence.

    Args:
        verb: A verb's `main`; `MEMORY_ADVICE` in its module is what the user
            can do if the memory is full.
        arguments: Its flags. Flagfiles are looked for in the working
            directory, then in `experiments`.
    """
    logging.set_verbosity(logging.WARNING)

    def stop(number, frame):
        """Ends the verb as SIGINT does, with its work cleaned up."""
        ignore_more_hangups(number)
        raise KeyboardInterrupt

    earlier = {n: signal.signal(n, stop) for n in stop_signals()}
    try:
        verb(expand_flagfiles(arguments, ["", experiments()]))
    except (Exception, KeyboardInterrupt) as error:
        advice = getattr(sys.modules.get(verb.__module__), "MEMORY_ADVICE", "")
        sentence = sentence_for(error, advice)
        if sentence is None:
            raise
        if isinstance(error, KeyboardInterrupt):
            print(sentence, file=sys.stderr)
            sys.exit(STOPPED)
        sys.exit(sentence)
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def experiments() -> str:
    """The folder of the flagfiles: in the checkout, or in the package."""
    package = pathlib.Path(__file__).parents[1]
    folders = [package / "experiments", package.parent / "experiments"]
    return str(next((f for f in folders if f.is_dir()), folders[-1]))

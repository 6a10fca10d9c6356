"""What the scripts share. Imported before TensorFlow."""

import os
import signal
import sys
from collections.abc import Callable
from collections.abc import Sequence

# TensorFlow reads these when it is imported. Its oneDNN kernels make a training
# step on CPUs where they are not the default 1.6 times as fast. Its graph
# optimizer logs each rewrite that it gives up as an error; true errors are
# raised.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from absl import app
from absl import flags
from absl import logging

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import is_disk_full

# Flags of files and folders: an empty one, as of an unset variable, would be
# the working directory.
_PATHS = (
    "run_dir",
    "saved_model",
    "input",
    "output",
    "dataset",
    "data_dir",
    "codes_dir",
)


def define_model_flags() -> None:
    """Defines `--run_dir` and `--saved_model`; one of them must be given."""
    flags.DEFINE_string("run_dir", None, "Folder of a finished run.")
    flags.DEFINE_string(
        "saved_model", None, "Folder of a SavedModel, instead of a run's own."
    )
    flags.mark_flags_as_mutual_exclusive(
        ["run_dir", "saved_model"], required=True
    )


def define_conversion_flags(source: str, target: str) -> None:
    """Defines the flags of a script that converts a folder.

    Args:
        source: What `--input` is.
        target: What `--output` is.
    """
    define_model_flags()
    flags.DEFINE_string("input", None, source, required=True)
    flags.DEFINE_string("output", None, target, required=True)
    flags.DEFINE_integer(
        "batch_size", 16, "Files converted at once.", lower_bound=1
    )
    flags.DEFINE_boolean(
        "overwrite", False, "Do all anew, also what is in --output already."
    )


def with_flagfiles(arguments: Sequence[str], folder: str) -> list[str]:
    """Arguments with flagfiles replaced by what is in them.

    Args:
        arguments: The command line.
        folder: Where flagfiles are looked for that are not in the working
            directory or, if a flagfile names them, beside it.
    """
    return _expanded(arguments, ["", folder])


def _expanded(arguments, folders, files=()):
    found = []
    arguments = iter(arguments)
    for argument in arguments:
        option, equals, name = argument.partition("=")
        if option not in ("--flagfile", "-flagfile"):
            found.append(argument)
            continue
        name = os.path.expanduser(name if equals else next(arguments, ""))
        paths = [os.path.join(folder, name) for folder in folders]
        path = next(filter(os.path.isfile, paths), None)
        told = f"error: --flagfile={name}"
        if files:
            told += f" (in {files[-1]})"
        if path is None:
            sys.exit(f"{told}: there is no such file.")
        if os.path.realpath(path) in files:
            sys.exit(f"{told}: it names itself.")
        try:
            with open(path, encoding="utf-8") as file:
                lines = [line.strip() for line in file]
        except UnicodeDecodeError:
            sys.exit(f"{told}: expected a text file.")
        found += _expanded(
            [line for line in lines if line and not line.startswith("#")],
            [os.path.dirname(path), folders[-1]],
            (*files, os.path.realpath(path)),
        )
    return found


def run(
    main: Callable[[], None] | dict[str, Callable[[], None]],
    arguments: Sequence[str] | None = None,
) -> None:
    """Runs a script; tells what went wrong in one sentence.

    Args:
        main: The script, flags parsed; or several by their names, of which
            the command line has one.
        arguments: The command line; the process's own by default.
    """

    def guarded(left):
        logging.set_verbosity(logging.WARNING)
        given = left[1:]
        if callable(main):
            expected, chosen = "flags only", None if given else main
        else:
            expected = f"one of {', '.join(main)}, and flags"
            chosen = main.get(given[0]) if len(given) == 1 else None
        if chosen is None:
            sys.exit(
                f"error: expected {expected}, such as --flag=value or "
                f"--noflag. Received: {' '.join(given) or 'none of them'}"
            )
        for name in _PATHS:
            if name in flags.FLAGS and flags.FLAGS[name].value == "":
                sys.exit(
                    f"error: --{name}: expected a value. Received nothing."
                )
        # Both signals end a script the same way, with what it does cleaned up.
        earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            chosen()
        except UserError as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            sys.exit("stopped; start again to go on.")
        except Exception as error:  # A full disk has many types.
            if is_disk_full(error):
                sys.exit(
                    "error: the disk is full; make room and start again to "
                    "go on."
                )
            if isinstance(error, tf.errors.ResourceExhaustedError):
                sys.exit(f"error: out of memory{_smaller_batches()}.")
            raise
        finally:
            signal.signal(signal.SIGTERM, earlier)

    app.run(guarded, argv=arguments)


def _smaller_batches():
    """What the script's flags can do about a full memory."""
    if "prior_batch_size" in flags.FLAGS:
        return (
            "; give a smaller --batch_size or, of a prior, --prior_batch_size, "
            "and another --run_dir"
        )
    if "batch_size" in flags.FLAGS:
        return "; give a smaller --batch_size and start again to go on"
    return ""

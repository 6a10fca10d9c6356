"""The folder of a run: of which flags it is, and whether it can be used."""

import contextlib
import json
import os
import types
from collections.abc import Callable

import tensorflow as tf

from vqvae2_tf.errors import UserError
from vqvae2_tf.files.atomic import check_writable
from vqvae2_tf.files.lock import lock
from vqvae2_tf.files.atomic import remove
from vqvae2_tf.files.atomic import write_text
from vqvae2_tf.runs.configuration import printable

CONFIG_FILE = "config.json"

# How a run is carried out, not what comes of it: these may differ when a run
# is gone on with.
_CONDUCT = (
    "data_dir",
    "run_dir",
    "strategy",
    "overwrite",
    "dry_run",
    "steps_per_loop",
    "stage",
    "level",
    "codes_dir",
)
# What only the pictures of samples depend on; they are drawn again.
_SAMPLING = ("temperature", "samples_per_class")


def read_config(run_dir: str) -> types.SimpleNamespace:
    """The configuration of a run, as `resolve` made it.

    Args:
        run_dir: Folder of the run (`--run_dir`).

    Raises:
        UserError: If it is not the folder of a run.
    """
    run_dir = os.path.expanduser(run_dir)
    path = os.path.join(run_dir, CONFIG_FILE)
    if not tf.io.gfile.exists(path):
        raise UserError(
            f"--run_dir={run_dir} is no folder of a run: it has no "
            f"{CONFIG_FILE}."
        )
    config = types.SimpleNamespace(**_read_config(path))
    config.run_dir = run_dir
    return config


def check(config: types.SimpleNamespace) -> None:
    """Checks that the run's folder can be written to and is of this very run.

    Args:
        config: From `resolve`.

    Raises:
        UserError: If the folder holds a run of other flags, or other files,
            or nothing can be written there.
    """
    folder = config.run_dir
    path = os.path.join(folder, CONFIG_FILE)
    if tf.io.gfile.exists(path):
        earlier = _read_config(path)
        if not config.overwrite:
            _check_same(config, earlier)
    elif tf.io.gfile.exists(folder) and (
        not tf.io.gfile.isdir(folder)
        or any(
            not name.startswith(".writing-")
            for name in tf.io.gfile.listdir(folder)
        )
    ):
        raise UserError(
            f"--run_dir={folder} is neither an empty folder nor one "
            f"of an earlier run (it has no {CONFIG_FILE})."
        )
    check_writable("run_dir", folder)


def claim(
    config: types.SimpleNamespace, entries: Callable[[list[str]], list[str]]
) -> None:
    """Writes the configuration into the run's folder.

    With `--overwrite` what an earlier run wrote, and nothing else, is removed
    first; the configuration last, so that it can be repeated. If flags of
    sampling are other than before, the samples are removed.

    Args:
        config: From `resolve`, after `check`.
        entries: Function of a run's level names to the names of the files
            and folders that it writes.

    Raises:
        UserError: If another process trains a network of the run; nothing is
            changed then.
    """
    path = os.path.join(config.run_dir, CONFIG_FILE)
    if not tf.io.gfile.exists(path):
        write_text(path, printable(config))
        return
    if config.stage != "all" and not config.overwrite:
        return
    earlier = _read_config(path)
    paths = [
        os.path.join(config.run_dir, name)
        for name in entries(earlier["level_names"])
    ]
    with contextlib.ExitStack() as stack:
        for folder in filter(tf.io.gfile.isdir, paths):
            stack.enter_context(lock(folder))
        if config.overwrite:
            for entry in paths:
                remove(entry)
        elif _differing(config, earlier, _SAMPLING):
            remove(os.path.join(config.run_dir, "samples.png"))
        write_text(path, printable(config))


def _read_config(path):
    with tf.io.gfile.GFile(path) as file:
        try:
            earlier = json.load(file)
        except ValueError:
            earlier = None
    if not isinstance(earlier, dict) or "level_names" not in earlier:
        raise UserError(
            f"{path} is not the configuration of a run; give another --run_dir."
        )
    return earlier


def _differing(config, earlier, names):
    now = json.loads(printable(config))
    return [
        f"--{name} ({earlier.get(name)!r} then, {now.get(name)!r} now)"
        for name in names
        if earlier.get(name) != now.get(name)
    ]


def _check_same(config, earlier):
    names = {*earlier, *vars(config)} - {*_CONDUCT, *_SAMPLING}
    # Priors alone are trained without a look at the pictures.
    if "data_version" not in earlier or not hasattr(config, "data_version"):
        names.discard("data_version")
    differing = _differing(config, earlier, sorted(names))
    if differing:
        raise UserError(
            f"--run_dir={config.run_dir} was made with other flags: "
            f"{', '.join(differing)}. Give them as they were, or another "
            "--run_dir, or --overwrite to start afresh."
        )

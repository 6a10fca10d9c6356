"""The folder of a run: whose run it is, and whether it can be used."""

import contextlib
import json
import os
import re

import tensorflow as tf

from vqvae2_tf.data.source import FOLDER_PREFIX
from vqvae2_tf.errors import UserError
from vqvae2_tf.files import atomic
from vqvae2_tf.files import filesystem
from vqvae2_tf.files.listing import is_within
from vqvae2_tf.files.lock import lock
from vqvae2_tf.flags import GENERATOR
from vqvae2_tf.flags import LENGTH
from vqvae2_tf.flags import RESULTS
from vqvae2_tf.flags import SAMPLES
from vqvae2_tf.runs import configuration
from vqvae2_tf.runs.configuration import Configuration
from vqvae2_tf.training.state import STATE_FILE
from vqvae2_tf.training.state import steps_taken

CONFIG_FILE = "config.json"
LOG_FILE = "log.txt"
MODEL_FILE = "model.keras"
RESULT_FILE = "result.json"
METRICS_FILE = "metrics.json"
RECONSTRUCTIONS = "reconstructions.png"
SAMPLES_FILE = "samples.png"
# Removed whenever a network is trained.
FINAL_FILES = (SAMPLES_FILE, METRICS_FILE)
_EARLIER_RUN = re.compile(r"steps_\d+/?")
AUTOENCODER, CODES, EXPORTS = "autoencoder", "codes", "saved_models"
GENERATOR_EXPORT = os.path.join(EXPORTS, "generator")


def prior_folder(level: str) -> str:
    """Name of the folder of a level's prior."""
    return f"prior_{level}"


def earlier_run(steps: int) -> str:
    """Name of the run that an autoencoder of fewer steps is kept in."""
    return f"steps_{steps}"


def read_config(run_dir: str) -> Configuration:
    """The configuration of a run.

    Args:
        run_dir: Folder of the run (`--run_dir`).

    Raises:
        UserError: If it is not the folder of a run.
    """
    path = os.path.join(run_dir, CONFIG_FILE)
    if not tf.io.gfile.exists(path):
        raise UserError(
            f"--run_dir={run_dir} is not the folder of a run: it has no "
            f"{CONFIG_FILE}."
        )
    return configuration.from_json(_read(path)).replace(run_dir=run_dir)


def check_place(flag: str, path: str, dataset: str) -> None:
    """Checks that a path to be written is not in the folder of the images.

    Args:
        flag: Name of the flag that names the path.
        path: The path.
        dataset: Value of `--dataset`.

    Raises:
        UserError: If it is: the next start would read its pictures.
    """
    images = dataset.removeprefix(FOLDER_PREFIX)
    if images != dataset and is_within(path, images):
        raise UserError(
            f"--{flag}={path} must not be in --dataset={dataset}: the next "
            "start would find its pictures there."
        )


def earlier_precision(run_dir: str) -> str | None:
    """The precision that a run began in; None if the folder has no run yet.

    Raises:
        UserError: If its configuration cannot be read.
    """
    path = os.path.join(run_dir, CONFIG_FILE)
    return _read(path).get("precision") if tf.io.gfile.exists(path) else None


def check(config: Configuration) -> None:
    """Checks that the run's folder can be written to and is this very run's.

    Args:
        config: The run's configuration.

    Raises:
        UserError: If the folder holds a run of other flags, or other files,
            or nothing can be written there.
    """
    folder = config.run_dir
    path = os.path.join(folder, CONFIG_FILE)
    if tf.io.gfile.exists(path):
        earlier = configuration.from_json(_read(path))
        differing = _differing(config, earlier, RESULTS)
        if _has_other_images(config, earlier) and not config.overwrite:
            raise UserError(
                f"--run_dir={folder} was made with other images than --dataset="
                f"{config.dataset} has now: some were added, removed, changed, "
                "or moved to another class or split. Restore them, or give "
                "another --run_dir, or --overwrite to start again."
            )
        if differing and not config.overwrite:
            raise UserError(
                f"--run_dir={folder} was made with other flags: "
                f"{', '.join(differing)}. Give them as they were, or another "
                "--run_dir, or --overwrite to start again."
            )
        if not config.overwrite:
            _check_steps(config, earlier)
    elif tf.io.gfile.exists(folder) and (
        not tf.io.gfile.isdir(folder)
        or any(
            not name.startswith(".writing-")
            for name in tf.io.gfile.listdir(folder)
        )
    ):
        raise UserError(
            f"--run_dir={folder} is neither an empty folder nor an earlier "
            f"run's (it has no {CONFIG_FILE})."
        )
    atomic.check_writable("run_dir", folder)


def _check_steps(config, earlier):
    """Checks that the run can go on to other numbers of steps."""
    for flag, steps, steps_before in _lengths(config, earlier):
        schedule = flag.replace("steps", "schedule")
        reason = None
        if any(n < e for n, e in zip(steps, steps_before, strict=True)):
            reason = "a run cannot have fewer steps than it was made with"
        elif getattr(config, schedule) == "cosine":
            reason = (
                f"with --{schedule}=cosine the learning rate of every step "
                "depends on the number of all steps"
            )
        now, before = (",".join(map(str, x)) for x in (steps, steps_before))
        if reason:
            raise UserError(
                f"--run_dir={config.run_dir}: --{flag} ({before} then, {now} "
                f"now) cannot change so, as {reason}. Give it as it was, or "
                "another --run_dir, or --overwrite to start again."
            )
        names = [AUTOENCODER]
        if flag != "steps":
            names = map(prior_folder, config.level_names)
        for name, n, e in zip(names, steps, steps_before, strict=True):
            path = os.path.join(config.run_dir, name)
            finished = tf.io.gfile.exists(os.path.join(path, MODEL_FILE))
            if n > e and finished and steps_taken(path) is None:
                raise UserError(
                    f"{os.path.join(path, STATE_FILE)} is missing or damaged: "
                    f"without it the network cannot be trained on; give "
                    f"--{flag} as it was ({before})."
                )


def _lengths(config, earlier):
    """Flags of the run's length that changed: name, values now and then."""
    for name in _named(config, LENGTH):
        values = [getattr(c, name) for c in (config, earlier)]
        now, before = (v if isinstance(v, list) else [v] for v in values)
        if now != before:
            yield name, now, before


def claim(config: Configuration) -> None:
    """Writes the configuration into the run's folder.

    With `--overwrite` what an earlier run wrote, and nothing else, is removed
    first; the configuration is replaced last, so that this can be repeated. If
    flags of sampling have changed, the samples are removed, and if those of the
    generator have, that too. One stage of a run changes nothing but a higher
    number of steps and where the images are.

    Args:
        config: The run's configuration, after `check`.

    Raises:
        UserError: If another process trains a network of the run; nothing is
            changed then.
    """
    path = os.path.join(config.run_dir, CONFIG_FILE)
    if not tf.io.gfile.exists(path):
        atomic.write_text(path, config.to_json())
        return
    earlier = configuration.from_json(_read(path))
    if config.stage != "all":
        names = [name for name, _, _ in _lengths(config, earlier)]
        if config.data_version:
            names += ["dataset", "data_version"]
        now = earlier.replace(**{n: getattr(config, n) for n in names})
        if now.to_json() != earlier.to_json():
            atomic.write_text(path, now.to_json())
        return
    names = [
        AUTOENCODER,
        CODES,
        *map(prior_folder, earlier.level_names),
        RECONSTRUCTIONS,
        *FINAL_FILES,
        EXPORTS,
        LOG_FILE,
        *filter(_EARLIER_RUN.fullmatch, tf.io.gfile.listdir(config.run_dir)),
    ]
    written = [os.path.join(config.run_dir, name) for name in names]
    with contextlib.ExitStack() as stack:
        for folder in filter(tf.io.gfile.isdir, written):
            stack.enter_context(lock(folder))
        if config.overwrite:
            for entry in written:
                filesystem.remove(entry)
        elif _differing(config, earlier, GENERATOR):
            filesystem.remove(os.path.join(config.run_dir, GENERATOR_EXPORT))
            filesystem.remove(os.path.join(config.run_dir, SAMPLES_FILE))
        elif _differing(config, earlier, SAMPLES):
            filesystem.remove(os.path.join(config.run_dir, SAMPLES_FILE))
        atomic.write_text(path, config.to_json())


def _read(path):
    """The values of config.json."""
    values = atomic.read_json(path, "give another --run_dir")
    if "autoencoder" not in values:
        raise UserError(
            f"{path} was written by an earlier version, whose runs cannot be "
            "resumed or overwritten; give another --run_dir."
        )
    return values


def _differing(config, earlier, role):
    """The flags of a role that are not as they were."""
    now, before = json.loads(config.to_json()), json.loads(earlier.to_json())
    labels = {name: f"--{name}" for name in _named(config, role)}
    if config.stage == "prior" or _has_same_images(config, earlier):
        # Priors alone are trained without a look at the images. Otherwise the
        # images count, not the path of their folder.
        labels.pop("dataset", None)
    differing = {n: x for n, x in labels.items() if before.get(n) != now[n]}
    # Other networks have other flags, which would hide what was changed.
    chosen = {"autoencoder", "prior"} & differing.keys()
    return [
        f"{label} ({before.get(name)!r} then, {now[name]!r} now)"
        for name, label in sorted(differing.items())
        if name in chosen or not chosen
    ]


def _has_same_images(config, earlier):
    return config.data_version and config.data_version == earlier.data_version


def _has_other_images(config, earlier):
    """Whether a data set, or a folder, holds other images than before."""
    both = [config.dataset, earlier.dataset]
    is_folder = all(name.startswith(FOLDER_PREFIX) for name in both)
    versions = {config.data_version, earlier.data_version} - {None}
    return len(versions) == 2 and (is_folder or both[0] == both[1])


def _named(config, role):
    """Names of the flags of a role."""
    table = configuration.flag_table(config.autoencoder, config.prior)
    return [flag.name for flag in table if flag.role == role]

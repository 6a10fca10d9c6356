"""What a run made with an autoencoder of fewer steps, kept as its own run."""

import os

import tensorflow as tf

from vqvae2_tf.files import atomic
from vqvae2_tf.files import filesystem
from vqvae2_tf.runs import folder
from vqvae2_tf.runs.configuration import Configuration
from vqvae2_tf.training.loop import BEST_FILE
from vqvae2_tf.training.state import STATE_FILE
from vqvae2_tf.training.state import steps_taken


def set_aside(config: Configuration) -> None:
    """Moves what belongs to a finished autoencoder into `steps_<N>`.

    That is a run of its own then, with the flags in its folder; the autoencoder
    is copied. Done in part, it can be repeated: the priors, which tell that it
    is to be done, are moved last.

    Args:
        config: The run's configuration, whose autoencoder has N steps.
    """

    def path(*parts):
        return os.path.join(config.run_dir, *parts)

    steps = steps_taken(path(folder.AUTOENCODER))
    aside = path(folder.earlier_run(steps))
    priors = list(map(folder.prior_folder, config.level_names))
    own = folder.read_config(config.run_dir)
    pairs = zip(priors, own.prior_steps, strict=True)
    own = own.replace(
        steps=steps,
        prior_steps=[_steps(name, path(), aside) or n for name, n in pairs],
        run_dir=aside,
    )
    atomic.write_text(os.path.join(aside, folder.CONFIG_FILE), own.to_json())
    for name in (folder.MODEL_FILE, folder.RESULT_FILE, STATE_FILE, BEST_FILE):
        source = path(folder.AUTOENCODER, name)
        if name == BEST_FILE and not tf.io.gfile.exists(source):
            continue
        target = os.path.join(aside, folder.AUTOENCODER, name)
        with atomic.replacing(target) as new:
            tf.io.gfile.copy(source, new, overwrite=True)
    for name in (
        *(folder.CODES, folder.EXPORTS, folder.RECONSTRUCTIONS),
        *(*folder.FINAL_FILES, *priors),
    ):
        if tf.io.gfile.exists(path(name)):
            filesystem.rename(path(name), os.path.join(aside, name))
    print(
        f"{aside}: what belongs to the autoencoder of {steps} steps is a run "
        "of its own now",
        flush=True,
    )


def _steps(name, *folders):
    """Steps of a finished prior in the first folder that has it, or None."""
    for path in (os.path.join(x, name) for x in folders):
        if tf.io.gfile.exists(os.path.join(path, folder.MODEL_FILE)):
            return steps_taken(path)
    return None

"""What a run made with an autoencoder of fewer steps, kept as its own run."""

import os

import tensorflow as tf

from vqvae2_tf.files import atomic
from vqvae2_tf.files import filesystem
from vqvae2_tf.runs import folder
from vqvae2_tf.runs.configuration import Configuration
from vqvae2_tf.training.state import STATE_FILE
from vqvae2_tf.training.state import steps_taken


def set_aside(config: Configuration) -> None:
    """Moves what belongs to a finished autoencoder into `steps_<N>`.

    That is a run of its own then; the autoencoder is copied. Done in part, it
    can be repeated.

    Args:
        config: The run's configuration, whose autoencoder has N steps.
    """

    def path(*parts):
        return os.path.join(config.run_dir, *parts)

    steps = steps_taken(path(folder.AUTOENCODER))
    aside = path(folder.earlier_run(steps))
    own = config.replace(steps=steps, run_dir=aside)
    atomic.write_text(os.path.join(aside, folder.CONFIG_FILE), own.to_json())
    for name in (folder.MODEL_FILE, folder.RESULT_FILE, STATE_FILE):
        target = os.path.join(aside, folder.AUTOENCODER, name)
        with atomic.replacing(target) as new:
            source = path(folder.AUTOENCODER, name)
            tf.io.gfile.copy(source, new, overwrite=True)
    for name in (
        *(folder.CODES, *map(folder.prior_folder, config.level_names)),
        *(folder.EXPORTS, folder.RECONSTRUCTIONS, *folder.FINAL_FILES),
    ):
        if tf.io.gfile.exists(path(name)):
            filesystem.rename(path(name), os.path.join(aside, name))
    print(
        f"{aside}: what belongs to the autoencoder of {steps} steps is a run "
        "of its own now",
        flush=True,
    )

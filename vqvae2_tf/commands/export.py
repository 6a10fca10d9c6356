"""Writes the SavedModels of a finished run into another folder.

    vqvae2 export --run_dir=runs/emoji --output=SAVED_MODELS

Writes SAVED_MODELS/autoencoder and SAVED_MODELS/generator, as a run does at its
end in its own saved_models. SavedModels that are there are replaced.
"""

from vqvae2_tf.commands import common
from vqvae2_tf.files.atomic import check_writable
from vqvae2_tf.runs import folder
from vqvae2_tf.runs.pipeline import Run
from vqvae2_tf.training.devices import open_devices

FLAGS = [common.RUN_DIR, common.output("Folder for the SavedModels.")]


def main(arguments):
    """Exports the run's networks."""
    options = common.parse(FLAGS, arguments, __doc__)
    run = Run(folder.read_config(options.run_dir), open_devices("one"))
    check_writable("output", options.output)
    names = run.export(options.output)
    print(f"{options.output}: {' and '.join(names)} written")

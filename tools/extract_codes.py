"""Writes the codes of a data set's pictures, by the autoencoder of a run.

    python tools/extract_codes.py --run_dir=runs/emoji --output=CODES
    python tools/extract_codes.py --run_dir=runs/emoji --output=CODES \
        --dataset=folder:PICTURES

Sharded TFRecords a split, with the codes of every level, the label and the
picture's id, and a card, codes.json: what priors are trained on (train.py's
--codes_dir). The pictures are the run's own or those of another data set, at
the run's size. Started again, it goes on with the shards that are missing.
"""

import os

from absl import flags

from vqvae2_tf.commands import cli as command
from vqvae2_tf.files.atomic import check_writable
from vqvae2_tf.runs import configuration as configuration
from vqvae2_tf.runs import folder as run_folder
from vqvae2_tf.runs.pipeline import Run
from vqvae2_tf.training.strategy import STRATEGIES
from vqvae2_tf.training.strategy import make_strategy

FLAGS = flags.FLAGS


def extract():
    """Extracts what the flags say."""
    config = run_folder.read_config(FLAGS.run_dir)
    if FLAGS.dataset:
        config.dataset = FLAGS.dataset
    if FLAGS.data_dir:
        config.data_dir = os.path.expanduser(FLAGS.data_dir)
    folder = os.path.expanduser(FLAGS.output)
    check_writable("output", folder)
    source = configuration.open_pictures(config)
    run = Run(config, make_strategy(FLAGS.strategy), source)
    autoencoder = run.finished_autoencoder()
    source.prepare()
    card = run.extract_codes(autoencoder, folder)
    counts = [f"{count} ({split})" for split, count in card["splits"].items()]
    print(f"{folder}: codes of {' and '.join(counts)} pictures")


if __name__ == "__main__":
    flags.DEFINE_string("run_dir", None, "Folder of the run.", required=True)
    flags.DEFINE_string(
        "output", None, "Folder that the codes are written to.", required=True
    )
    flags.DEFINE_string(
        "dataset", None, "Other pictures than the run's; as for train.py."
    )
    flags.DEFINE_string(
        "data_dir", None, "Where TFDS keeps its data sets, if elsewhere."
    )
    flags.DEFINE_enum("strategy", "auto", STRATEGIES, "Devices to use.")
    command.run(extract)

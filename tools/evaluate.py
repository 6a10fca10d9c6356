"""Measures a finished run and prints the figures as JSON.

    python tools/evaluate.py nll --run_dir=runs/emoji

`nll`: negative log likelihood of each level's codes under its prior, in nats a
code and in bits an image, of all codes of training beside the held-out ones, as
in table 1 of the VQ-VAE-2 paper. Weights are the averaged ones.
"""

import json
import os

from absl import flags

from vqvae2_tf.commands import cli as command
from vqvae2_tf.runs import folder as run_folder
from vqvae2_tf.runs.pipeline import Run
from vqvae2_tf.training.strategy import STRATEGIES
from vqvae2_tf.training.strategy import make_strategy

FLAGS = flags.FLAGS


def nll():
    """Negative log likelihoods of all levels that have a prior."""
    config = run_folder.read_config(FLAGS.run_dir)
    run = Run(config, make_strategy(FLAGS.strategy))
    codes_dir = FLAGS.codes_dir and os.path.expanduser(FLAGS.codes_dir)
    print(json.dumps(run.evaluate_priors(codes_dir), indent=2))


if __name__ == "__main__":
    flags.DEFINE_string("run_dir", None, "Folder of the run.", required=True)
    flags.DEFINE_string(
        "codes_dir", None, "Folder of the codes, if not RUN_DIR/codes."
    )
    flags.DEFINE_enum("strategy", "auto", STRATEGIES, "Devices to use.")
    command.run({"nll": nll})

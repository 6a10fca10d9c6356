"""Trains a VQ-VAE-2 and its priors, samples and exports.

    python experiments/train.py --flagfile=emoji.flags

A bare flagfile name is looked for in the working directory, then beside this
file. Stopped and started again, it goes on from where it was.
"""

import os
import sys
import time

from absl import flags

from vqvae2_tf.commands import cli as command
from vqvae2_tf.errors import UserError
from vqvae2_tf.runs import configuration as configuration
from vqvae2_tf.runs import folder as run_folder
from vqvae2_tf.runs.networks import parameter_counts
from vqvae2_tf.runs.pipeline import Run
from vqvae2_tf.runs.pipeline import run_entries
from vqvae2_tf.training.loop import TrainingDivergedError
from vqvae2_tf.training.loop import TrainingStoppedError
from vqvae2_tf.training.precision import choose_precision
from vqvae2_tf.training.strategy import make_strategy

HERE = os.path.dirname(os.path.abspath(__file__))


def train():
    """Does what the flags say: a run, or a stage of it."""
    config = configuration.resolve(lambda name: flags.FLAGS[name].value)
    source = None
    if config.stage != "prior" or config.dry_run:
        source = configuration.open_pictures(config)
        config.data_version = source.builder.info.full_name
    print(configuration.printable(config), flush=True)
    if config.dry_run:
        num_classes = len(source.class_names) if config.class_conditional else 0
        for name, count in parameter_counts(config, num_classes).items():
            print(f"{name}: {count:,} parameters")
        return
    strategy = make_strategy(config.strategy)
    config.precision, reason = choose_precision(config.precision)
    print(f"precision: {config.precision}, {reason}", flush=True)
    run_folder.check(config)
    run = Run(config, strategy, source)
    run.check()
    if source:
        source.prepare()
    run_folder.claim(config, run_entries)
    start = time.monotonic()
    try:
        run.carry_out()
    except TrainingStoppedError as stopped:
        sys.exit(str(stopped))
    except TrainingDivergedError as error:
        raise UserError(
            f"{error}. Give a smaller --learning_rate (of a prior "
            "--prior_learning_rate), and another --run_dir."
        ) from error
    print(f"{config.run_dir}: done in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    configuration.define_flags()
    command.run(train, command.with_flagfiles(sys.argv, HERE))

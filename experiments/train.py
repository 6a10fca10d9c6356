"""Trains a VQ-VAE-2 and its priors, samples and exports.

    python experiments/train.py --flagfile=emoji.flags

A bare flagfile name is looked for in the working directory, then beside this
file. Stopped and started again, it goes on from where it was.
"""

import os
import sys
import time

from absl import flags

from vqvae2_tf import command
from vqvae2_tf.training import config as configuration
from vqvae2_tf.training.loop import TrainingStoppedError
from vqvae2_tf.training.networks import parameter_counts
from vqvae2_tf.training.stages import Run
from vqvae2_tf.training.stages import check_batch_sizes
from vqvae2_tf.training.stages import run_entries
from vqvae2_tf.training.strategy import make_strategy

HERE = os.path.dirname(os.path.abspath(__file__))


def with_found_flagfiles(arguments):
    """Arguments with bare flagfile names turned into paths."""

    def find(name):
        beside = os.path.join(HERE, name)
        return name if os.path.exists(name) else beside

    options = ("--flagfile", "-flagfile")
    found = []
    for argument in arguments:
        option, equals, name = argument.partition("=")
        if option in options and equals:
            argument = f"{option}={find(name)}"
        elif found and found[-1] in options:
            argument = find(argument)
        found.append(argument)
    return found


def train():
    """Runs all stages of the configuration that the flags give."""
    config = configuration.resolve(lambda name: flags.FLAGS[name].value)
    source = configuration.open_pictures(config)
    config.data_version = source.builder.info.full_name
    print(configuration.printable(config), flush=True)
    if config.dry_run:
        print_parameter_counts(config, source)
        return
    strategy = make_strategy(config.strategy)
    check_batch_sizes(config, strategy)
    configuration.check_run_dir(config)
    source.prepare()
    configuration.claim_run_dir(config, run_entries)
    print_parameter_counts(config, source)
    start = time.monotonic()
    try:
        Run(config, source, strategy).all_stages()
    except TrainingStoppedError as stopped:
        sys.exit(str(stopped))
    print(f"{config.run_dir}: done in {time.monotonic() - start:.0f} s")


def print_parameter_counts(config, source):
    """One line a network."""
    num_classes = len(source.class_names) if config.class_conditional else 0
    for name, count in parameter_counts(config, num_classes).items():
        print(f"{name}: {count:,} parameters", flush=True)


if __name__ == "__main__":
    configuration.define_flags()
    command.run(train, with_found_flagfiles(sys.argv))

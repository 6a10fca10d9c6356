"""Which size of a prior matters: table 4 of the VQ-VAE-2 paper's supplement.

    python experiments/ablate_prior.py --flagfile=emoji.flags --level=top \
        --codes_dir=runs/emoji/codes --run_dir=runs/ablation --prior_steps=300

Trains one level's prior on given codes at every point of a grid of hidden units
(residual units are four times as many), attention layers and batch sizes, all
else as the flags say, and prints the table, and how much each of the three
changes the held-out NLL. Each prior is a run of its own below --run_dir; what
is finished is not trained again.
"""

import copy
import itertools
import json
import os
import statistics
import sys

import tensorflow as tf
from absl import flags

from vqvae2_tf.commands import cli as command
from vqvae2_tf.errors import UserError
from vqvae2_tf.files.atomic import write_text
from vqvae2_tf.runs import configuration as configuration
from vqvae2_tf.runs import folder as run_folder
from vqvae2_tf.runs.pipeline import RESULT_FILE
from vqvae2_tf.runs.pipeline import Run
from vqvae2_tf.runs.pipeline import run_entries
from vqvae2_tf.training.loop import TrainingStoppedError
from vqvae2_tf.training.precision import choose_precision
from vqvae2_tf.training.strategy import make_strategy

HERE = os.path.dirname(os.path.abspath(__file__))
FLAGS = flags.FLAGS
AXES = ("hidden_units", "attention_layers", "batch_size")


def grid():
    """The values of each of `AXES`."""
    lists = {}
    for axis, flag, lowest in zip(
        AXES,
        ("hidden_units_grid", "attention_grid", "batch_size_grid"),
        (1, 0, 1),
        strict=True,
    ):
        texts = FLAGS[flag].value
        if not texts or not all(
            text.isdecimal() and int(text) >= lowest for text in texts
        ):
            raise UserError(
                f"--{flag}: expected whole numbers, at least {lowest}. "
                f"Received: {','.join(texts)}"
            )
        lists[axis] = [int(text) for text in texts]
    return lists


def at_point(base, level, hidden_units, attention_layers, batch_size):
    """The configuration of one point of the grid."""
    config = copy.deepcopy(base)
    layers = config.prior_layers[level]
    every = layers // attention_layers if attention_layers else 0
    if attention_layers and (not every or layers // every != attention_layers):
        raise UserError(
            f"--attention_grid: {attention_layers} attention layers cannot be "
            f"spread evenly over --prior_layers={layers}."
        )
    config.prior_hidden_units[level] = hidden_units
    config.prior_residual_units[level] = 4 * hidden_units
    config.prior_attention_every[level] = every
    config.prior_batch_size[level] = batch_size
    heads = config.prior_heads[level]
    if attention_layers and hidden_units % heads:
        raise UserError(
            f"--hidden_units_grid: expected multiples of --prior_heads "
            f"({heads}). Received: {hidden_units}"
        )
    name = f"h{hidden_units}_a{attention_layers}_b{batch_size}"
    config.run_dir = os.path.join(base.run_dir, name)
    return config


def table(points):
    """The lines of the table, in the order of the paper's.

    Args:
        points: List of `(values of AXES, metrics)`.
    """
    head = ("batch", "hidden", "residual", "attention", "held-out", "train")
    lines = [" ".join(f"{word:>9}" for word in head)]
    for (hidden, attention, batch), metrics in sorted(
        points, key=lambda point: (point[0][2], *point[0][:2])
    ):
        sizes = (batch, hidden, 4 * hidden, attention)
        lines.append(
            " ".join(
                [f"{size:>9}" for size in sizes]
                + [f"{metrics[n]:>9.4f}" for n in ("nll", "train_nll")]
            )
        )
    return lines


def effects(points):
    """A line for each of `AXES`: the mean NLL at each of its values."""
    lines = []
    for i, axis in enumerate(AXES):
        means = {}
        for values, metrics in points:
            means.setdefault(values[i], []).append(metrics["nll"])
        means = {v: statistics.mean(nlls) for v, nlls in sorted(means.items())}
        if len(means) > 1:
            spread = max(means.values()) - min(means.values())
            shown = ", ".join(f"{v}: {nll:.4f}" for v, nll in means.items())
            lines.append(
                f"{axis}: {spread:.4f} between best and worst ({shown})"
            )
    return lines


def ablate():
    """Trains what is not trained yet, and prints the table."""
    base = configuration.resolve(lambda name: FLAGS[name].value)
    if base.stage != "prior" or base.dry_run:
        raise UserError(
            "--stage=prior is all that an ablation does, and --dry_run none "
            f"of it. Received: --stage={base.stage} --dry_run={base.dry_run}"
        )
    if tf.io.gfile.exists(os.path.join(base.run_dir, run_folder.CONFIG_FILE)):
        raise UserError(
            f"--run_dir={base.run_dir} is the folder of a run; give another "
            "for the ablation, and its codes by --codes_dir."
        )
    if not base.codes_dir:
        raise UserError("--codes_dir must be given: the codes to train on.")
    level = base.level_names.index(base.level)
    strategy = make_strategy(base.strategy)
    base.precision, _ = choose_precision(base.precision)
    runs = {}
    # All are checked before the first is trained.
    for values in itertools.product(*grid().values()):
        config = at_point(base, level, *values)
        run_folder.check(config)
        runs[values] = Run(config, strategy)
        runs[values].check()
    points = []
    for values, run in runs.items():
        run_folder.claim(run.config, run_entries)
        try:
            run.carry_out()
        except TrainingStoppedError as stopped:
            sys.exit(str(stopped))
        path = run.path(f"prior_{base.level}", RESULT_FILE)
        with tf.io.gfile.GFile(path) as file:
            points.append((values, json.load(file)))
    text = "\n".join([*table(points), "", *effects(points), ""])
    write_text(os.path.join(base.run_dir, "table.txt"), text)
    print(text)


if __name__ == "__main__":
    configuration.define_flags()
    FLAGS.set_default("stage", "prior")
    flags.DEFINE_list("hidden_units_grid", "64,128,256", "Hidden units.")
    flags.DEFINE_list("attention_grid", "0,2", "Attention layers.")
    flags.DEFINE_list("batch_size_grid", "32,64", "Batch sizes.")
    command.run(ablate, command.with_flagfiles(sys.argv, HERE))

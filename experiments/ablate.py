"""Which flags matter: trains a network at every point of a grid of flags.

    python experiments/ablate.py --flagfile=emoji.flags --stage=prior \\
        --level=top --codes_dir=runs/emoji/codes --run_dir=runs/ablation \\
        --grid=prior_layers=4,6 \\
        --grid=prior_hidden_units:prior_residual_units=32:128,64:256

Takes the flags of `vqvae2 train`. Each --grid is an axis: a flag and its
values, or several flags that change together. Each point is a run of its own
below --run_dir; what is finished is not trained again. Prints a table of their
metrics and the mean at each value of an axis, and writes both to
RUN_DIR/table.txt: table 4 of the VQ-VAE-2 paper's supplement, for any network.
"""

from vqvae2_tf.commands import cli

if __name__ == "__main__":
    cli.run_script(__file__)

import itertools
import os
import statistics

from vqvae2_tf.commands import train
from vqvae2_tf.errors import UserError
from vqvae2_tf.files import atomic
from vqvae2_tf.runs import configuration
from vqvae2_tf.runs import folder

GRID = "--grid="


def flags_of(axis, value):
    """The flags of an axis's value: of A:B and 1:2, --A=1 and --B=2."""
    # What is missing is an empty text, which no flag takes.
    parts = axis.split(":"), value.split(":")
    pairs = itertools.zip_longest(*parts, fillvalue="")
    return [f"--{name}={part}" for name, part in pairs]


def table(axes, points):
    """Lines of the metrics of each point, in columns."""
    rows = [[*axes, *points[0][1]]]
    for values, metrics in points:
        rows.append([*values, *(f"{x:.4f}" for x in metrics.values())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.rjust, row, widths)) for row in rows]


def effects(axes, points):
    """A line for each axis: the metric's mean at each of its values."""
    names = points[0][1]
    # The metric that chooses the best weights is measured in training too.
    metric = next(name for name in names if f"train_{name}" in names)
    for i, (axis, values) in enumerate(axes.items()):
        means = {}
        for value in values:
            found = [m[metric] for point, m in points if point[i] == value]
            means[value] = statistics.mean(found)
        spread = max(means.values()) - min(means.values())
        shown = ", ".join(f"{v}: {mean:.4f}" for v, mean in means.items())
        yield f"{axis}: {spread:.4f} between best and worst {metric} ({shown})"


def main(arguments):
    """Trains the points of the grid, and prints the table."""
    grid = [a[len(GRID) :] for a in arguments if a.startswith(GRID)]
    arguments = [a for a in arguments if not a.startswith(GRID)]
    base = configuration.parse(arguments, __doc__)
    if base.stage not in ("autoencoder", "prior") or base.dry_run or not grid:
        raise UserError(
            "expected --stage=autoencoder or prior, no --dry_run, and --grid. "
            f"Received: --stage={base.stage}, {len(grid)} times --grid"
        )
    parts = [text.partition("=") for text in grid]
    axes = {axis: values.split(",") for axis, _, values in parts}
    runs = {}
    for values in itertools.product(*axes.values()):
        flags = list(itertools.chain(*map(flags_of, axes, values)))
        run_dir = os.path.join(base.run_dir, "_".join(flags).replace("--", ""))
        runs[values] = [*arguments, *flags, f"--run_dir={run_dir}"], run_dir
        # All are checked before the first is trained.
        configuration.parse(runs[values][0])
    points = []
    network = folder.AUTOENCODER
    if base.stage == "prior":
        network = folder.prior_folder(base.level)
    for values, (line, run_dir) in runs.items():
        train.main(line)
        path = os.path.join(run_dir, network, folder.RESULT_FILE)
        points.append((values, atomic.read_json(path, f"remove {run_dir}")))
    text = "\n".join([*table(axes, points), "", *effects(axes, points), ""])
    atomic.write_text(os.path.join(base.run_dir, "table.txt"), text)
    print(text)

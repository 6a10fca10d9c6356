"""Held-out images that are nearly the same as training images.

    vqvae2 evaluate duplicates --train=features:TRAINING \\
        --held_out=features:VALIDATION --output=DUPLICATES

Twins across the split make held-out figures too good. Distances are those of
the features, divided by the median distance of a held-out image to its nearest
training image; pairs of at most --threshold are near-duplicates. Writes
DUPLICATES/duplicates.csv, a line a pair, the closest first: the numbers of the
two images, the distance, and what the images are called in their folder or data
set; and DUPLICATES/duplicates.png, the closest held-out images, whether
near-duplicates or not, with their nearest training images to the right. The
images are read again from where the features were taken: `--data_dir` has
prepared data sets. --results adds the share of the held-out images that have a
near-duplicate to a file, as a line of JSON.
"""

import csv
import io
import os

import numpy as np

from vqvae2_tf.commands import common
from vqvae2_tf.commands.evaluations import distances
from vqvae2_tf.commands.evaluations.neighbours import open_images
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.evaluation import features
from vqvae2_tf.evaluation import results
from vqvae2_tf.evaluation.near_duplicates import near_duplicates
from vqvae2_tf.evaluation.neighbours import nearest
from vqvae2_tf.files import atomic
from vqvae2_tf.files.grids import save_grid
from vqvae2_tf.flags import Flag

FLAGS = [
    Flag("train", None, "Training images: features:DIR.", required=True),
    Flag("held_out", None, "Held-out images: features:DIR.", required=True),
    Flag(
        "threshold",
        0.5,
        "Largest distance of a pair, in parts of the median distance of a "
        "held-out image to its nearest training image.",
        0,
    ),
    Flag("count", 16, "Pairs in the picture.", 1),
    Flag("data_dir", None, "Folder of prepared data sets.", path=True),
    Flag("results", None, "File that results are added to.", path=True),
    common.output("Folder for duplicates.csv and duplicates.png."),
]
COLUMNS = ("held_out", "train", "distance", "held_out_name", "train_name")


def main(arguments):
    """Finds the pairs, writes them and draws the closest ones."""
    options = common.parse(FLAGS, arguments, __doc__)
    sets = {
        name: distances.FeatureSet(name, getattr(options, name))
        for name in ("held_out", "train")
    }
    features.check_same_network({name: s.card for name, s in sets.items()})
    images = {
        name: open_images(name, own.card, options.data_dir)
        for name, own in sets.items()
    }
    if images["held_out"].size != images["train"].size:
        raise UserError(
            f"--held_out: expected images of {images['train'].size} pixels, "
            f"those of --train. Received: {images['held_out'].size}"
        )
    atomic.check_writable("output", options.output)
    if options.results:
        atomic.check_file_writable("results", options.results)
    rows = {name: own.arrays["features"] for name, own in sets.items()}
    numbers, lengths = (x[:, 0] for x in nearest(*rows.values(), 1))
    median = float(np.median(lengths))
    try:
        pairs, found = near_duplicates(
            *rows.values(), options.threshold * median
        )
    except ValueError as error:
        raise UserError(
            f"--threshold={options.threshold:g}: {one_line(error)}"
        ) from error
    # 0 if most held-out images are copies: all pairs that are found are then.
    unit = median or 1.0
    order = np.argsort(found, kind="stable")
    # In order, as a step back takes long.
    names = {
        name: {int(i): images[name].name_of(int(i)) for i in np.unique(own)}
        for name, own in zip(images, pairs.T, strict=True)
    }
    table = [
        {
            "held_out": int(i),
            "train": int(j),
            "distance": float(distance / unit),
            "held_out_name": names["held_out"][int(i)],
            "train_name": names["train"][int(j)],
        }
        for (i, j), distance in zip(pairs[order], found[order], strict=True)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    path = os.path.join(options.output, "duplicates")
    atomic.write_text(f"{path}.csv", text.getvalue())
    shown = np.argsort(lengths, kind="stable")[: options.count]
    pixels = {
        name: {int(i): images[name].read(int(i), 1)[0] for i in np.unique(own)}
        for name, own in (("held_out", shown), ("train", numbers[shown]))
    }
    grid = [
        np.concatenate([pixels["held_out"][i], pixels["train"][numbers[i]]])
        / 127.5
        - 1.0
        for i in shown
    ]
    titles = [f"{i} {numbers[i]}: {lengths[i] / unit:.2f}" for i in shown]
    save_grid(f"{path}.png", grid, titles)
    if table:
        print(results.as_table(table[: options.count], COLUMNS))
    twins = len(np.unique(pairs[:, 0]))
    count = len(sets["held_out"])
    print(
        f"{path}.csv: {twins:,} of {count:,} held-out images have one or more "
        f"of {len(np.unique(pairs[:, 1])):,} training images at a distance of "
        f"at most {options.threshold:g}; {len(pairs):,} pairs"
    )
    if options.results:
        row = distances.row(
            sets["held_out"].card,
            "near_duplicates",
            twins / count,
            count,
            sets["train"].card,
            reference_n=len(sets["train"]),
            threshold=options.threshold,
            median_distance=median,
            pairs=len(pairs),
        )
        results.append(options.results, [row])

"""Shows the codebooks: every codeword decoded, and how much each is used.

    vqvae2 codebook --run_dir=runs/emoji --output=CODEBOOK

Writes CODEBOOK/<level>.png: a tile a codeword, 16 a row, in order, each decoded
from a map filled with that codeword, the other levels left out. Levels whose
codes mean nothing by themselves have no tiles. A tile shows the middle 64
pixels of a larger image, whose parts repeat. If the run has codes, the share of
codewords in use and their perplexity are printed for each split, and written to
CODEBOOK/usage.json with the counts.
"""

import os

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vqvae2_tf.codes.usage import usage
from vqvae2_tf.commands import common
from vqvae2_tf.files import atomic
from vqvae2_tf.files.grids import save_grid
from vqvae2_tf.runs.folder import CODES

FLAGS = [*common.MODEL, common.output("Folder that the tiles are written to.")]
_COLUMNS = 16
_TILE = 64


def codeword_rows(model, name):
    """Rows of tiles `[n, h, w, C]` in [-1, 1] of a level, and their titles."""
    top, left = (max(size - _TILE, 0) // 2 for size in model.image_size)
    numbers = np.arange(len(model.codebooks[name]))[:, None, None]
    starts = range(0, len(numbers), _COLUMNS)
    rows = []
    for start in tqdm(starts, desc=name, unit="row"):
        row = numbers[start : start + _COLUMNS]
        codes = {
            other: np.full((len(row), *level.shape), level.unknown)
            for other, level in model.levels.items()
        }
        codes[name][:] = row
        images = model.decode(codes)
        rows.append(images[:, top : top + _TILE, left : left + _TILE])
    return rows, list(map(str, starts))


def main(arguments):
    """Shows the codebooks."""
    options = common.parse(FLAGS, arguments, __doc__)
    model = common.load_autoencoder(options)
    atomic.check_writable("output", options.output)
    for name in model.codebooks:
        path = os.path.join(options.output, f"{name}.png")
        save_grid(path, *codeword_rows(model, name))
        print(path)
    codes = options.run_dir and os.path.join(options.run_dir, CODES)
    if not codes or not tf.io.gfile.exists(codes):
        print("No codes to count: they are in the folder of a run.")
        return
    table = usage(codes)
    print("split       level     codes   used   usage  perplexity")
    for split, levels in table.items():
        for name, row in levels.items():
            line = "{codes:>6} {used:>6} {usage:>7.1%} {perplexity:>11.1f}"
            print(f"{split:<11} {name:<8}", line.format(**row))
    atomic.write_json(os.path.join(options.output, "usage.json"), table)

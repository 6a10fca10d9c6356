"""Shows the codebooks: every codeword decoded, and how much each is used.

    python tools/codebook.py --run_dir=runs/emoji --output=CODEBOOK

Writes CODEBOOK/<level>.png: a tile a codeword, 16 a row, in order, each decoded
from a map filled with that codeword, the other levels at the mean of the
vectors quantized in training. Tiles of pictures larger than 64 pixels are cut
out of their middle, where they repeat. If the run has codes, the share of
codewords in use and their perplexity are printed for each split, and written
to CODEBOOK/usage.json with the counts.
"""

import json
import os

import numpy as np
import tensorflow as tf
from absl import flags
from tqdm import tqdm

from vqvae2_tf.codes import records as code_records
from vqvae2_tf.commands import cli as command
from vqvae2_tf.evaluation import measures
from vqvae2_tf.export import load as saved_models
from vqvae2_tf.files.atomic import check_writable
from vqvae2_tf.files.atomic import write_text
from vqvae2_tf.files.grids import save_grid

FLAGS = flags.FLAGS
_COLUMNS = 16
_TILE = 64


def codeword_rows(model, level):
    """Rows of tiles `[n, h, w, C]` in [-1, 1] of a level, and their titles."""
    top, left = (max(size - _TILE, 0) // 2 for size in model.image_size)
    numbers = np.arange(model.num_codes)
    starts = range(0, model.num_codes, _COLUMNS)
    rows = []
    for start in tqdm(starts, desc=level, unit="row"):
        row = numbers[start : start + _COLUMNS]
        codes = {
            name: np.full((len(row), *size), -1)
            for name, size in model.map_sizes.items()
        }
        codes[level][:] = row[:, None, None]
        images = model.decode(codes)
        rows.append(images[:, top : top + _TILE, left : left + _TILE])
    return rows, [str(start) for start in starts]


def count_codes(folder, level_names, num_codes):
    """Times each code was used: `{"<split>": {"<level>": [K] int}}`.

    None if the folder holds no codes.
    """
    if not tf.io.gfile.exists(os.path.join(folder, code_records.CARD)):
        return None
    card = code_records.read_card(folder)
    counts = {}
    for split in card["splits"]:
        counts[split] = {
            name: np.zeros(num_codes, "int64") for name in level_names
        }
        examples = code_records.code_examples(folder, card, split)
        for batch in examples.open().map(examples.read).batch(256):
            for name, codes in zip(level_names, batch["codes"], strict=True):
                counts[split][name] += np.bincount(
                    codes.numpy().ravel(), minlength=num_codes
                )
    return counts


def usage(counts):
    """Usage and perplexity of counts: `{"<split>": {"<level>": {...}}}`."""
    return {
        split: {
            name: {
                "codes": len(times),
                "used": int(np.sum(times > 0)),
                "usage": measures.codebook_usage(times),
                "perplexity": measures.codebook_perplexity(times),
                "counts": times.tolist(),
            }
            for name, times in levels.items()
        }
        for split, levels in counts.items()
    }


def codebook():
    """Shows what the flags say."""
    model = saved_models.Autoencoder(
        saved_models.find("autoencoder", FLAGS.run_dir, FLAGS.saved_model)
    )
    output = os.path.expanduser(FLAGS.output)
    check_writable("output", output)
    for level in model.map_sizes:
        rows, titles = codeword_rows(model, level)
        path = os.path.join(output, f"{level}.png")
        save_grid(path, rows, titles)
        print(path)
    counts = None
    if FLAGS.run_dir:
        folder = os.path.join(os.path.expanduser(FLAGS.run_dir), "codes")
        counts = count_codes(folder, list(model.map_sizes), model.num_codes)
    if counts is None:
        print("No codes to count: they are in the folder of a run.")
        return
    table = usage(counts)
    print("split       level     codes   used   usage  perplexity")
    for split, levels in table.items():
        for name, row in levels.items():
            print(
                f"{split:<11} {name:<8} {row['codes']:>6} {row['used']:>6} "
                f"{row['usage']:>7.1%} {row['perplexity']:>11.1f}"
            )
    write_text(os.path.join(output, "usage.json"), json.dumps(table) + "\n")


if __name__ == "__main__":
    command.define_model_flags()
    flags.DEFINE_string(
        "output",
        None,
        "Folder that the pictures are written to.",
        required=True,
    )
    command.run(codebook)

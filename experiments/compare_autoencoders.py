"""Compares autoencoders at the same bits an image, steps and images.

    python experiments/compare_autoencoders.py --flagfile=emoji_shared.flags \\
        --steps=1500 --run_dir=runs/comparison --seeds=0,1,2

Trains each of SYSTEMS with each of --seeds, as a run of its own below
--run_dir; what is finished is not trained again. Takes the flags of `vqvae2
train` that all systems have; the maps and the numbers of codes are those of
SYSTEMS, 9 bits a position of a map 4 times smaller than the image. Prints a
table of held-out images: the means over the seeds, and of the MSE the standard
deviation. MSE and PSNR are of images in [0, 1]; usage and perplexity, coarsest
level first, of all codewords of a layer; times are of the SavedModel on this
machine, in ms an image, of one batch of at most 64. Writes the table to
RUN_DIR/table.txt, and to RUN_DIR/images.png the first seed's reconstructions,
level by level.
"""

from vqvae2_tf.commands import cli

if __name__ == "__main__":
    cli.run_script(__file__)

import os
import statistics
import sys
import time

import keras
import numpy as np

from vqvae2_tf.commands import train
from vqvae2_tf.data.batches import image_examples
from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation.measures import psnr
from vqvae2_tf.evaluation.ssim import ssim
from vqvae2_tf.export import load
from vqvae2_tf.files import atomic
from vqvae2_tf.files import grids
from vqvae2_tf.runs import configuration
from vqvae2_tf.runs import folder
from vqvae2_tf.runs import networks
from vqvae2_tf.runs import pipeline

# Flags of each system. Two maps have 5/4 of the positions, and fewer codes. The
# decoders' widths follow the rule of docs/results.md, 11.25 sqrt(K / levels).
SYSTEMS = {
    "VQ-VAE": "--autoencoder=vqvae2 --strides=4 --num_codes=512",
    "VQ-VAE-2": "--autoencoder=vqvae2 --strides=4,2 --num_codes=147",
    "HR-VQVAE": "--autoencoder=hr_vqvae --stride=4 --num_codes=8,8,8",
    "MS-VQVAE": (
        "--autoencoder=ms_vqvae --strides=4,2 --num_codes=147 "
        "--decoder_units=96"
    ),
    "flat residual": (
        "--autoencoder=experiments.flat_residual --stride=4 --num_codes=8,8,8"
    ),
}
SEEDS = "--seeds="
_BATCH = 64
_SHOWN = 12
_REPEATS = 5


def held_out(config):
    """Batches of held-out images, `[B, H, W, C]` in [-1, 1]."""
    source = pipeline.open_images(config)
    source.prepare()
    examples = image_examples(
        source, "validation", config.image_size, config.channels
    )
    for batch in examples.evaluation_arrays(_BATCH):
        yield batch["image"][: int(np.sum(batch["weight"]))]


def measure(config):
    """Measures one trained system.

    Returns:
        Tuple of a dict of numbers, and rows of images by their titles.
    """
    path = os.path.join(config.run_dir, folder.AUTOENCODER, folder.RESULT_FILE)
    result = atomic.read_json(path, f"remove {config.run_dir}")
    model = load.Autoencoder(load.find("autoencoder", config.run_dir, None))
    batches = list(held_out(config))
    first = batches[0]
    codes = model.encode(first)
    restored = [model.decode(model.encode(batch)) for batch in batches]
    similar = [
        ssim((a + 1) / 2, (np.clip(b, -1, 1) + 1) / 2)
        for a, b in zip(batches, restored, strict=True)
    ]
    names = [level.name for level in config.levels]
    numbers = {
        "mse": result["mse"],
        "ssim": np.mean(np.concatenate(similar)),
        "bits": sum(level.bits for level in config.levels),
        # Of all codewords, where a layer's codebook depends on coarser codes.
        **{
            f"{metric}_{i + 1}": result.get(
                f"{name}_global_{metric}", result[f"{name}_{metric}"]
            )
            for i, name in enumerate(names)
            for metric in ("usage", "perplexity")
        },
        "parameters": networks.parameter_counts(config, 0)["autoencoder"],
        "encode_ms": _milliseconds(model.encode, first),
        "decode_ms": _milliseconds(model.decode, codes),
    }
    few = {name: maps[:_SHOWN] for name, maps in codes.items()}
    rows = {
        f"{n} of {len(names)}": model.decode_levels(few, names[:n])
        for n in range(1, len(names) + 1)
    }
    return numbers, {"held-out": first[:_SHOWN], **rows}


def _milliseconds(function, batch):
    """Time of a call, an image."""
    function(batch)
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        function(batch)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds) / len(keras.tree.flatten(batch)[0])


def line_of(system, found):
    """A line of the table: the seeds' means."""
    mean = {name: statistics.mean(x[name] for x in found) for name in found[0]}
    spread = statistics.stdev(x["mse"] for x in found) if found[1:] else 0.0

    def levels(metric, form):
        names = [name for name in mean if name.startswith(f"{metric}_")]
        return ", ".join(format(mean[name], form) for name in names)

    return [
        system,
        f"{mean['mse']:.5f} ±{spread:.5f}",
        f"{psnr(mean['mse']):.2f}",
        f"{mean['ssim']:.4f}",
        f"{mean['bits']:,.0f}",
        levels("usage", ".0%"),
        levels("perplexity", ".0f"),
        f"{mean['parameters']:,.0f}",
        f"{mean['encode_ms']:.2f}",
        f"{mean['decode_ms']:.2f}",
    ]


HEAD = [
    *("system", "MSE", "PSNR", "SSIM", "bits", "usage", "perplexity"),
    *("parameters", "encode ms", "decode ms"),
]


def main(arguments):
    """Trains the systems, prints the table, writes the picture."""
    # Where experiments.flat_residual is.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    given = [a for a in arguments if a.startswith(SEEDS)] or [f"{SEEDS}0"]
    seeds = given[-1].removeprefix(SEEDS).split(",")
    arguments = [a for a in arguments if not a.startswith(SEEDS)]
    for argument in arguments:
        if argument.startswith(("--autoencoder", "--num_codes", "--stage")):
            raise UserError(f"{argument}: this is the same in all comparisons.")
    runs = {}
    for system, flags in SYSTEMS.items():
        line = [*arguments, *flags.split(), "--stage=autoencoder"]
        config = configuration.parse(line, __doc__)
        if config.dry_run:
            raise UserError("--dry_run: expected a training.")
        for seed in seeds:
            name = f"{system.lower().replace(' ', '_')}_{seed}"
            run_dir = os.path.join(config.run_dir, name)
            own = [*line, f"--seed={seed}", f"--run_dir={run_dir}"]
            # All are checked before the first is trained.
            runs[system, seed] = own, configuration.parse(own)
    table, rows = [HEAD], {}
    for system in SYSTEMS:
        found = []
        for seed in seeds:
            own, own_config = runs[system, seed]
            train.main(own)
            numbers, images = measure(own_config)
            found.append(numbers)
            if seed == seeds[0]:
                rows["held-out"] = images.pop("held-out")
                rows |= {f"{system} {x}": row for x, row in images.items()}
        table.append(line_of(system, found))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(map(str.rjust, row, widths)) for row in table]
    text = "\n".join([*lines, ""])
    atomic.write_text(os.path.join(config.run_dir, "table.txt"), text)
    path = os.path.join(config.run_dir, "images.png")
    grids.save_grid(path, [*rows.values()], [*rows])
    print(text)

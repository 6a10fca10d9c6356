"""Samples beside their nearest images of a data set, and memorization.

    vqvae2 evaluate neighbours --samples=features:SAMPLES \\
        --originals=features:TRAINING --output=neighbours.png

Supplement C of the VQ-VAE-2 paper. The picture has two rows a sample: the
sample and its nearest originals by features, nearest first, and below it those
by pixels. The images are read again from where the features were taken:
`--data_dir` has prepared data sets. Prints the numbers of the images and the
distances.

With --held_out=features:DIR, images that were not trained on, and the training
images as --originals, it tells of all samples whether they lie nearer to the
training images than unseen images do: `nearer` is the probability that a sample
is nearer than a held-out image, 0.5 if nothing is copied, and z how many
standard deviations this is off 0.5 (Meehan et al. 2020). --results adds them to
a file, a line of JSON each.
"""

import numpy as np

from vqvae2_tf.commands import common
from vqvae2_tf.commands.evaluations import distances
from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation import features
from vqvae2_tf.evaluation import results
from vqvae2_tf.evaluation.memorization import PERCENTILES
from vqvae2_tf.evaluation.memorization import memorization
from vqvae2_tf.evaluation.neighbours import nearest
from vqvae2_tf.files import atomic
from vqvae2_tf.files.grids import save_grid
from vqvae2_tf.flags import Flag
from vqvae2_tf.runs import inputs

FLAGS = [
    Flag("samples", None, "Samples: features:DIR.", required=True),
    Flag("originals", None, "Images: features:DIR.", required=True),
    Flag("held_out", None, "Images not trained on: features:DIR."),
    Flag("count", 8, "Samples shown, of all at equal distances.", 1),
    Flag("neighbours", 6, "Neighbours of a sample that are shown.", 1),
    Flag("data_dir", None, "Folder of prepared data sets.", path=True),
    Flag("results", None, "File that results are added to.", path=True),
    common.output("PNG file."),
]


class _Pixels:
    """Images that `nearest` reads as rows."""

    def __init__(self, images):
        self._images = images
        self.shape = (images.count, *images.size, 3)

    def __len__(self):
        return self._images.count

    def __getitem__(self, rows):
        first, stop, _ = rows.indices(len(self))
        return self._images.read(first, stop - first)[0]


def open_images(flag: str, card: dict, data_dir: str | None) -> inputs.Images:
    """The images that features were taken of.

    Raises:
        UserError: If they are not there, others, or no images but
            reconstructions.
    """
    if card.get("reconstructed_by"):
        raise UserError(
            f"--{flag}: expected features of images that can be read. "
            "Received: those of reconstructions"
        )
    images = inputs.open_input(
        card["input"],
        tuple(card["image_size"]),
        count=card["count"],
        data_dir=data_dir,
        flag=flag,
    )
    if images.identity != card["images"]:
        raise UserError(
            f"--{flag}: the images of {card['input']} are no longer those that "
            "the features were taken of."
        )
    return images


def main(arguments):
    """Draws the picture and prints the numbers."""
    options = common.parse(FLAGS, arguments, __doc__)
    sets = {
        name: distances.FeatureSet(name, text)
        for name in ("samples", "originals", "held_out")
        if (text := getattr(options, name))
    }
    features.check_same_network({name: s.card for name, s in sets.items()})
    if len(sets["originals"]) < options.neighbours:
        raise UserError(
            f"--originals: expected at least {options.neighbours} images. "
            f"Received: {len(sets['originals'])}"
        )
    images, originals = (
        open_images(name, sets[name].card, options.data_dir)
        for name in ("samples", "originals")
    )
    if images.size != originals.size:
        raise UserError(
            f"--originals: expected images of {images.size} pixels, the "
            f"samples'. Received: {originals.size}"
        )
    atomic.check_file_writable("output", options.output)
    if options.results:
        atomic.check_file_writable("results", options.results)
    shown = np.arange(len(sets["samples"]))
    shown = shown[:: max(1, len(shown) // options.count)][: options.count]
    rows = {n: own.arrays["features"] for n, own in sets.items()}
    chosen = np.concatenate([images.read(int(i), 1)[0] for i in shown])
    # 32 MiB of pixels in float64.
    block = max(1, 2**22 // chosen[0].size)
    found = {
        "features": nearest(
            rows["samples"][shown], rows["originals"], options.neighbours
        ),
        "pixels": nearest(
            chosen, _Pixels(originals), options.neighbours, block
        ),
    }
    # In order, as a step back takes long.
    numbers = np.unique([numbers for numbers, _ in found.values()])
    pixels = {j: originals.read(int(j), 1)[0] for j in numbers}
    grid, titles = [], []
    for i, sample in enumerate(shown):
        for by, (numbers, lengths) in found.items():
            near = [pixels[j] for j in numbers[i]]
            line = np.concatenate([chosen[i : i + 1], *near])
            grid.append(line / 127.5 - 1.0)
            titles.append(f"{sample} {by}")
            pairs = zip(numbers[i], lengths[i], strict=True)
            text = "  ".join(f"{j} ({length:.4g})" for j, length in pairs)
            print(f"sample {sample} by {by}: {text}")
    save_grid(options.output, grid, titles)
    if "held_out" not in sets:
        return
    memory = memorization(rows["samples"], rows["originals"], rows["held_out"])
    card = sets["samples"].card
    reference = sets["originals"].card
    percentiles = (memory.percentiles, memory.held_out_percentiles)
    result = distances.row(
        card,
        "nearer",
        memory.nearer,
        len(sets["samples"]),
        reference,
        z=memory.z,
        below_median=memory.below_median,
        reference_n=len(sets["originals"]),
        held_out=sets["held_out"].card.get("input"),
        held_out_n=len(sets["held_out"]),
        percentiles=list(PERCENTILES),
        distances=percentiles[0],
        held_out_distances=percentiles[1],
    )
    columns = ["name", "value", "z", "below_median", "n", "held_out_n"]
    print(results.as_table([result], columns))
    table = [
        {"percentile": p, "samples": a, "held out": b}
        for p, a, b in zip(PERCENTILES, *percentiles, strict=True)
    ]
    print(results.as_table(table, table[0]))
    if options.results:
        results.append(options.results, [result])

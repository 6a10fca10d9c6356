"""Turns a folder of images into PNG files of their reconstructions.

    vqvae2 reconstruct --run_dir=runs/emoji --input=IMAGES \\
        --output=RECONSTRUCTIONS --levels=top

--levels names the levels that the decoder is given, as in figure 3 of
VQ-VAE-2: top, top,middle, or all. The others are left out, as `decode` of the
autoencoder says: VQ-VAE-2 sets them to the mean of the vectors quantized in
training. Images that cannot be decoded are reported and left out, and the exit
status is then 1. Started again, the command resumes with the images that are
not done yet.

With --contributions each PNG explains an image, as in figure 1 of MS-VQVAE: a
row a level, coarsest first, with what the level adds to the coarser ones (the
difference of the two images, grey where that is nothing) and with their sum,
and the image itself below.
"""

import itertools

import numpy as np

from vqvae2_tf.commands import common
from vqvae2_tf.errors import UserError
from vqvae2_tf.files import grids
from vqvae2_tf.flags import Flag

FLAGS = [
    *common.conversion_flags(
        "Folder of images.", "Folder for reconstructions."
    ),
    Flag("levels", ["all"], "Levels to decode: all, or names.", many=True),
    Flag(
        "contributions",
        False,
        "Write what each of the levels adds to the image, and the sums.",
    ),
]
MEMORY_ADVICE = common.MEMORY_ADVICE


def main(arguments):
    """Reconstructs the images."""
    options = common.parse(FLAGS, arguments, __doc__)
    model = common.load_autoencoder(options)
    names = list(model.levels) if options.levels == ["all"] else options.levels
    if not names or set(names) - set(model.levels):
        raise UserError(
            f"--levels: expected all, or some of {', '.join(model.levels)}. "
            f"Received: {','.join(options.levels)}"
        )
    levels = [name for name in model.levels if name in names]

    def reconstruct(images):
        return model.decode_levels(model.encode(images), levels)

    def explain(images):
        codes = model.encode(images)
        counts = range(1, len(levels) + 1)
        sums = [model.decode_levels(codes, levels[:n]) for n in counts]
        shares = [sums[0], *(b - a for a, b in itertools.pairwise(sums))]
        pairs = zip(shares, sums, strict=True)
        return [*(np.stack(pair, axis=1) for pair in pairs), images[:, None]]

    if options.contributions:
        common.convert_folder(
            options,
            model,
            "reconstruct",
            explain,
            lambda path, rows: grids.save_grid(path, rows, [*levels, "image"]),
            levels=levels,
            contributions=True,
        )
    else:
        common.convert_folder(
            options, model, "reconstruct", reconstruct, levels=levels
        )

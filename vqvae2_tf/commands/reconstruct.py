"""Turns a folder of images into PNG files of their reconstructions.

    vqvae2 reconstruct --run_dir=runs/emoji --input=IMAGES \\
        --output=RECONSTRUCTIONS --levels=top

--levels names the levels that the decoder is given, as in figure 3 of
VQ-VAE-2: top, top,middle, or all. The others are set to the mean of the vectors
quantized in training. Images that cannot be decoded are reported and left out,
and the exit status is then 1. Started again, the command resumes with the
images that are not done yet.
"""

import numpy as np

from vqvae2_tf.commands import common
from vqvae2_tf.errors import UserError
from vqvae2_tf.flags import Flag

FLAGS = [
    *common.conversion_flags(
        "Folder of images.", "Folder for reconstructions."
    ),
    Flag("levels", ["all"], "Levels to decode: all, or names.", many=True),
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
    hidden = set(model.levels) - set(names)

    def reconstruct(images):
        codes = model.encode(images)
        for name in hidden:
            codes[name] = np.full_like(codes[name], model.levels[name].unknown)
        return model.decode(codes)

    levels = [name for name in model.levels if name not in hidden]
    common.convert_folder(
        options, model, "reconstruct", reconstruct, levels=levels
    )

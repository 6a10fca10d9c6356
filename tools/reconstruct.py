"""Turns a folder of pictures into PNGs of their reconstructions.

    python tools/reconstruct.py --run_dir=runs/emoji --input=PICTURES \
        --output=RECONSTRUCTIONS --levels=top

--levels says which levels the decoder is given, as in figure 3 of VQ-VAE-2:
top, top,middle, or all. The others are put at the mean of the vectors
quantized in training. Pictures are read, told, left out and gone on with as in
tools/encode.py.
"""

import numpy as np
from absl import flags

from vqvae2_tf.commands import cli as command
from vqvae2_tf.data.decoding import ENDINGS
from vqvae2_tf.data.image_files import read_image
from vqvae2_tf.errors import UserError
from vqvae2_tf.export import load as saved_models
from vqvae2_tf.files.conversion import Conversion
from vqvae2_tf.files.conversion import convert_folder
from vqvae2_tf.files.grids import save_image

FLAGS = flags.FLAGS


def chosen_levels(given, names):
    """The levels that `--levels` asks for, coarsest first."""
    if given == ["all"]:
        return list(names)
    if not given or set(given) - set(names):
        raise UserError(
            f"--levels: expected all, or of {', '.join(names)}. Received: "
            f"{','.join(given)}"
        )
    return [name for name in names if name in given]


def reconstruct():
    """Reconstructs what the flags say."""
    model = saved_models.Autoencoder(
        saved_models.find("autoencoder", FLAGS.run_dir, FLAGS.saved_model)
    )
    levels = chosen_levels(FLAGS.levels, model.map_sizes)

    def read(path):
        return read_image(path, model.image_size, model.channels)

    def convert(images):
        codes = model.encode(np.stack(images))
        return model.decode(
            {
                name: maps if name in levels else np.full_like(maps, -1)
                for name, maps in codes.items()
            }
        )

    convert_folder(
        Conversion(ENDINGS, ".png", read, convert, save_image),
        FLAGS.input,
        FLAGS.output,
        FLAGS.batch_size,
        "reconstruct.json",
        {"autoencoder": model.fingerprint, "levels": levels},
        FLAGS.overwrite,
    )


if __name__ == "__main__":
    command.define_conversion_flags(
        "Folder of pictures.", "Folder for their reconstructions."
    )
    flags.DEFINE_list("levels", "all", "Levels to decode: all, or by name.")
    command.run(reconstruct)

"""Turns a folder of codes back into PNGs.

    python tools/decode.py --run_dir=runs/emoji --input=CODES --output=PICTURES

Reads the .npz files of tools/encode.py and of tools/sample.py. Subfolders are
kept. A code of -1 is not known and decoded as its level's mean. Files whose
codes are not of this autoencoder's sizes are told and left out, and the exit
status is then 1. Started again, it goes on with those that are not done yet.
"""

import numpy as np
from absl import flags

from vqvae2_tf.codes import npz as code_files
from vqvae2_tf.commands import cli as command
from vqvae2_tf.export import load as saved_models
from vqvae2_tf.files.conversion import Conversion
from vqvae2_tf.files.conversion import convert_folder
from vqvae2_tf.files.grids import save_image

FLAGS = flags.FLAGS


def decode():
    """Decodes what the flags say."""
    model = saved_models.Autoencoder(
        saved_models.find("autoencoder", FLAGS.run_dir, FLAGS.saved_model)
    )

    def read(path):
        return code_files.load_codes(path, model.map_sizes, model.num_codes)

    def convert(codes):
        return model.decode(
            {name: np.stack([c[name] for c in codes]) for name in codes[0]}
        )

    convert_folder(
        Conversion([code_files.ENDING], ".png", read, convert, save_image),
        FLAGS.input,
        FLAGS.output,
        FLAGS.batch_size,
        "decode.json",
        {"autoencoder": model.fingerprint},
        FLAGS.overwrite,
    )


if __name__ == "__main__":
    command.define_conversion_flags(
        "Folder of codes.", "Folder for their pictures."
    )
    command.run(decode)

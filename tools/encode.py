"""Turns a folder of pictures into codes, one .npz file a picture.

    python tools/encode.py --run_dir=runs/emoji --input=PICTURES --output=CODES

Subfolders are kept. Pictures of any size and mode are scaled and cropped as in
training. A file holds an int32 array a level, named top, middle, bottom.
Pictures that cannot be decoded are told and left out, and the exit status is
then 1. Started again, it goes on with those that are not done yet.
"""

import numpy as np
from absl import flags

from vqvae2_tf.codes import npz as code_files
from vqvae2_tf.commands import cli as command
from vqvae2_tf.data.decoding import ENDINGS
from vqvae2_tf.data.image_files import read_image
from vqvae2_tf.export import load as saved_models
from vqvae2_tf.files.conversion import Conversion
from vqvae2_tf.files.conversion import convert_folder

FLAGS = flags.FLAGS


def encode():
    """Encodes what the flags say."""
    model = saved_models.Autoencoder(
        saved_models.find("autoencoder", FLAGS.run_dir, FLAGS.saved_model)
    )

    def read(path):
        return read_image(path, model.image_size, model.channels)

    def convert(images):
        codes = model.encode(np.stack(images))
        return [
            {name: maps[i] for name, maps in codes.items()}
            for i in range(len(images))
        ]

    convert_folder(
        Conversion(
            ENDINGS, code_files.ENDING, read, convert, code_files.save_codes
        ),
        FLAGS.input,
        FLAGS.output,
        FLAGS.batch_size,
        "encode.json",
        {"autoencoder": model.fingerprint},
        FLAGS.overwrite,
    )


if __name__ == "__main__":
    command.define_conversion_flags(
        "Folder of pictures.", "Folder for their codes."
    )
    command.run(encode)

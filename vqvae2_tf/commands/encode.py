"""Turns a folder of images into codes, one .npz file an image.

    vqvae2 encode --run_dir=runs/emoji --input=IMAGES --output=CODES

Subfolders are kept. Images of any size and mode are scaled and cropped as in
training. A file holds an array a level, named top, middle, bottom. Images that
cannot be decoded are reported and left out, and the exit status is then 1.
Started again, the command resumes with the images that are not done yet.
"""

from vqvae2_tf.commands import common

FLAGS = common.conversion_flags("Folder of images.", "Folder for their codes.")
MEMORY_ADVICE = common.MEMORY_ADVICE


def main(arguments):
    """Encodes the images."""
    options = common.parse(FLAGS, arguments, __doc__)
    model = common.load_autoencoder(options)
    common.convert_folder(options, model, "encode", model.encode)

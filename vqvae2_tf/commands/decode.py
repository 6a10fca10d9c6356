"""Turns a folder of codes back into PNG images.

    vqvae2 decode --run_dir=runs/emoji --input=CODES --output=IMAGES

Reads the .npz files of `vqvae2 encode` and of `vqvae2 sample`. Subfolders are
kept. A code of -1 is not known and left out: VQ-VAE-2 decodes its level's mean,
HR-VQVAE leaves out the finer layers too, MS-VQVAE adds nothing. Files whose
codes are not of this autoencoder's levels are reported and left out, and the
exit status is then 1. Started again, the command resumes with the files that
are not done yet.
"""

from vqvae2_tf.commands import common

FLAGS = common.conversion_flags("Folder of codes.", "Folder for their images.")
MEMORY_ADVICE = common.MEMORY_ADVICE


def main(arguments):
    """Decodes the codes."""
    options = common.parse(FLAGS, arguments, __doc__)
    model = common.load_autoencoder(options)
    common.convert_folder(options, model, "decode", model.decode)

"""Writes the codes of another tokenizer as codes to train priors on.

    vqvae2 import_codes --input=codes.npz --card=card.json --output=CODES
    vqvae2 train --flagfile=CODES/train.flags --run_dir=RUN ...

--input is an .npz file with an array a level, [N, h, w] or [N, h * w] of
integers, and with classes `labels`, [N]; or an .npy file of a single level; or
a folder of such .npy files, LEVEL.npy and labels.npy, which are not read into
memory; or a folder of an .npz file an image, as `vqvae2 encode` writes them, in
a subfolder a class. --card is a JSON file with the levels, coarsest first, and
the classes, if there are any:

    {"levels": [{"name": "top", "height": 16, "width": 16,
                 "num_codes": 1024}],
     "class_names": ["cat", "dog"]}

Writes what `vqvae2 extract_codes` writes, and train.flags, the flags that
train priors on it. Started again, the command resumes with the missing shards.
"""

import os

import numpy as np

from vqvae2_tf.autoencoders import external
from vqvae2_tf.codes import importing
from vqvae2_tf.codes.arrays import open_codes
from vqvae2_tf.commands import common
from vqvae2_tf.files import atomic
from vqvae2_tf.files import filesystem
from vqvae2_tf.flags import Flag

FLAGS = [
    Flag("input", None, "File or folder of codes.", path=True, required=True),
    Flag("card", None, "JSON file: levels, classes.", path=True, required=True),
    common.output("Folder that the codes are written to."),
    Flag(
        "validation",
        None,
        "File or folder of the held-out codes, if not a share of --input.",
        path=True,
    ),
    Flag("validation_share", 0.1, "Share of images held out.", 1e-6, 0.9),
    Flag("seed", 0, "Seed of the split and the order.", 0, 2**31 - 1),
]


def main(arguments):
    """Imports the codes."""
    options = common.parse(FLAGS, arguments, __doc__)
    levels, class_names = importing.read_description(options.card)
    source = open_codes(options.input, levels, class_names)
    if options.validation:
        held_out = open_codes(options.validation, levels, class_names)
        random = np.random.default_rng(options.seed)
        splits = {
            "train": (source, random.permutation(source.count)),
            "validation": (held_out, random.permutation(held_out.count)),
        }
    else:
        splits = importing.split(source, options.validation_share, options.seed)
    output = options.output
    atomic.check_writable("output", output)
    card = importing.import_codes(splits, output, levels, class_names)
    if filesystem.is_local(output):
        output = os.path.abspath(output)
    lines = [*external.flag_lines(levels), f"--codes_dir={output}"]
    path = os.path.join(options.output, "train.flags")
    atomic.write_text(path, "\n".join(lines) + "\n")
    counts = [f"{count} ({name})" for name, count in card["splits"].items()]
    print(f"{options.output}: codes of {' and '.join(counts)} images")

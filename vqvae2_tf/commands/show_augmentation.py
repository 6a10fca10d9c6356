"""Shows the random changes of training images.

    vqvae2 show_augmentation --flagfile=ffhq.flags --data_dir=DIR \\
        --output=augmentation.png

Takes the flags of `vqvae2 train`. Writes a PNG: a row of images of the train
split as they are evaluated, and below each of them random draws.
"""

import numpy as np

from vqvae2_tf.commands import common
from vqvae2_tf.data.batches import image_examples
from vqvae2_tf.errors import UserError
from vqvae2_tf.files.atomic import check_file_writable
from vqvae2_tf.files.grids import save_grid
from vqvae2_tf.flags import Flag
from vqvae2_tf.runs import configuration
from vqvae2_tf.runs.folder import check_place
from vqvae2_tf.runs.pipeline import open_images

FLAGS = [
    common.output("PNG to write."),
    Flag("columns", 8, "Number of images shown.", 1),
    Flag("draws", 4, "Random draws of each image.", 1),
]


def main(arguments):
    """Writes the image that the flags ask for."""
    # The folder of a run is of no use here.
    arguments = [*arguments, "--run_dir=unused"]
    config = configuration.parse(arguments, __doc__, FLAGS)
    check_place("output", config.output, config.dataset)
    check_file_writable("output", config.output)
    if not config.augment:
        raise UserError("--augment names no operation, so none can be shown.")
    source = open_images(config)
    source.prepare()
    print(source.describe(), flush=True)
    size = config.image_size, config.channels
    examples = image_examples(
        source, "train", *size, config.augment, config.augmenter
    )
    with source.damage_reported():
        raw = list(examples.open().take(config.columns))

    def images(*sequences):
        read = map(examples.read, *sequences)
        return np.stack([example["image"] for example in read])

    rows = [images(raw)]
    for start in range(0, len(raw) * config.draws, len(raw)):
        seeds = [np.int64([config.seed, start + i]) for i in range(len(raw))]
        rows.append(images(raw, seeds))
    titles = ["original", *(f"draw {i + 1}" for i in range(config.draws))]
    save_grid(config.output, rows, titles)
    print(f"{config.output}: {len(raw)} images, {config.draws} draws of each")

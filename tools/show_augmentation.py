"""Shows what augmentation makes of training pictures.

    python tools/show_augmentation.py --flagfile=experiments/ffhq.flags \\
        --data_dir=DIR --output=augmentation.png

Takes the flags of `experiments/train.py`. Writes a PNG: a row of pictures of
the train split as they are evaluated, and below each of them random draws.
"""

import os
import sys

# Before TensorFlow is imported, which comes before `command` here.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from absl import flags

from vqvae2_tf.commands import cli as command
from vqvae2_tf.data.batches import image_examples
from vqvae2_tf.errors import UserError
from vqvae2_tf.files.atomic import check_writable
from vqvae2_tf.files.grids import save_grid
from vqvae2_tf.runs import configuration as configuration

FLAGS = flags.FLAGS
EXPERIMENTS = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "experiments"
)


def _flag(name):
    # The only flag without a default that is of no use here.
    return "unused" if name == "run_dir" else FLAGS[name].value


def show():
    """Writes the picture that the flags ask for."""
    output = os.path.expanduser(FLAGS.output)
    check_writable("output", os.path.dirname(output) or ".")
    config = configuration.resolve(_flag)
    if not config.augment:
        raise UserError("--augment names no operation, so none can be shown.")
    source = configuration.open_pictures(config)
    source.prepare()
    examples = image_examples(
        source,
        "train",
        config.image_size,
        config.channels,
        config.augment,
        config.augmenter,
    )
    raw = examples.open().take(FLAGS.pictures).enumerate()
    across = min(FLAGS.pictures, examples.count)

    def draws(row):
        def draw(column, example):
            seed = tf.stack([np.int64(config.seed), row * across + column])
            return examples.read_for_training(example, seed)["image"]

        return draw

    def pixels(dataset):
        return np.stack(list(dataset.as_numpy_iterator()))

    rows = [pixels(raw.map(lambda _, e: examples.read(e)["image"]))]
    rows += [pixels(raw.map(draws(row))) for row in range(FLAGS.draws)]
    titles = ["original", *(f"draw {i + 1}" for i in range(FLAGS.draws))]
    save_grid(output, rows, titles)
    print(f"{output}: {across} pictures, {FLAGS.draws} draws of each")


if __name__ == "__main__":
    configuration.define_flags()
    flags.DEFINE_string("output", None, "PNG to write.", required=True)
    flags.DEFINE_integer("pictures", 8, "Pictures in a row.", lower_bound=1)
    flags.DEFINE_integer("draws", 4, "Draws of each.", lower_bound=1)
    command.run(show, command.with_flagfiles(sys.argv, EXPERIMENTS))

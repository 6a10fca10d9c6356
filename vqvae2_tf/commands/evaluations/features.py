"""Features of images under a pretrained network, in shards on disk.

    vqvae2 evaluate features --input=folder:IMAGES --network=lite0 \\
        --output=FEATURES

All distances are measured on them. --input is one of

    folder:DIR             image files of one size, or of any with --image_size
    npz:FILE               arr_0, [N, H, W, 3] uint8
    dataset:NAME@SPLIT     train or validation of a data set; needs --image_size
    run:DIR@SPLIT          the same of a run's own data set
    run:DIR                samples of a run's priors; needs --count
    saved_model:DIR        samples of an exported generator; needs --count

With --reconstruct=run:DIR (or saved_model:DIR) the features are those of the
images' reconstructions; the images are scaled and cropped as the autoencoder
takes them, and so they must be for the features that these are compared with:
give those the same --image_size.

--network is inception (--weights names its file), vgg16, lite0, or the path of
a SavedModel. FEATURES/card.json says what the features are of. Started again,
the command goes on with the shards that are missing. It holds one batch of
images and one shard, 4,096 rows, in memory, whatever the number of images.
"""

import importlib.metadata

import numpy as np
from tqdm import tqdm

from vqvae2_tf.commands import common
from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation.features import Writer
from vqvae2_tf.evaluation.rejection import SAME_NETWORK
from vqvae2_tf.files.atomic import check_writable
from vqvae2_tf.flags import Flag
from vqvae2_tf.runs import inputs
from vqvae2_tf.runs.best_samples import critic_of
from vqvae2_tf.runs.feature_networks import open_network

INPUT = (
    Flag("input", None, f"Images: {inputs.KINDS}.", required=True),
    Flag(
        "image_size",
        (0, 0),
        "HEIGHT,WIDTH that images are scaled to cover and cropped to; as they "
        "are if 0,0.",
        0,
        many=True,
    ),
    Flag("count", 0, "Number of images, the first ones; 0 for all.", 0),
    Flag("data_dir", None, "Folder of prepared data sets.", path=True),
    Flag("batch_size", 32, "Images at once.", 1),
)
FLAGS = [
    *INPUT,
    Flag("network", None, "inception, vgg16, lite0 or a path.", required=True),
    Flag("weights", None, "File of the network's weights.", path=True),
    Flag("reconstruct", None, "Autoencoder: run:DIR or saved_model:DIR."),
    common.output("Folder for features."),
]


def open_images(options, model=None) -> inputs.Images:
    """The images that the flags of `INPUT` name.

    Args:
        options: Values of the flags.
        model: The autoencoder that they are for, if they are.
    """
    size = tuple(options.image_size)
    if len(size) != 2 or any(size) != all(size):
        raise UserError(
            "--image_size: expected HEIGHT,WIDTH. Received: "
            f"{','.join(map(str, size))}"
        )
    own = tuple(model.image_size) if model else size
    if any(size) and size != own:
        raise UserError(
            f"--image_size: expected {','.join(map(str, own))}, the size that "
            f"the autoencoder takes. Received: {','.join(map(str, size))}"
        )
    return inputs.open_input(
        options.input,
        own if any(own) else None,
        model.channels if model else 3,
        options.count or None,
        options.data_dir,
    )


def main(arguments):
    """Writes the features."""
    options = common.parse(FLAGS, arguments, __doc__)
    check_writable("output", options.output)
    model, reconstruct = None, None
    if options.reconstruct:
        model = inputs.open_autoencoder(options.reconstruct)
        reconstruct = inputs.reconstruction(model)
    images = open_images(options, model)
    network = open_network(options.network, options.weights)
    kept_by = critic_of(options.input)
    card = {
        **network.card(),
        "kept_by": kept_by,
        "input": options.input,
        "images": images.identity,
        "image_size": list(images.size),
        "reconstructed_by": model.fingerprint if model else None,
        "class_names": list(images.class_names),
        "version": importlib.metadata.version("vqvae2_tf"),
    }
    arrays = ["features"]
    if network.classes:
        arrays.append("logits")
    if images.class_names:
        arrays.append("labels")
    writer = Writer(options.output, card, images.count, tuple(arrays))
    missing = list(writer.missing())
    rows_left = sum(len(rows) for _, rows in missing)
    progress = tqdm(
        total=images.count, initial=images.count - rows_left, unit="img"
    )
    with progress:
        for shard, rows in missing:
            found = {name: [] for name in arrays}
            for first in range(rows.start, rows.stop, options.batch_size):
                count = min(options.batch_size, rows.stop - first)
                pixels, labels = images.read(first, count)
                # Filled up: a batch of another size is compiled again.
                fill = np.resize(np.arange(count), options.batch_size)
                pixels = pixels[fill]
                if reconstruct:
                    pixels = reconstruct(pixels)
                results = {**network(pixels), "labels": labels}
                for name in arrays:
                    found[name].append(results[name][:count])
                progress.update(count)
            writer.write(
                shard, **{n: np.concatenate(a) for n, a in found.items()}
            )
    if kept_by == card["weights"]:
        print(SAME_NETWORK)
    print(f"{options.output}: features of {images.count:,} images")

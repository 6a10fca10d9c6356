"""Writes the codes of a data set's images, by the autoencoder of a run.

    vqvae2 extract_codes --run_dir=runs/emoji --output=CODES
    vqvae2 extract_codes --run_dir=runs/emoji --output=CODES \\
        --dataset=folder:IMAGES

Writes sharded TFRecords a split, with the codes of every level, the label and
the image's id, and a card, codes.json: what priors are trained on
(`vqvae2 train --codes_dir`). The images are the run's own or those of another
data set, at the run's size. Started again, the command resumes with the missing
shards.
"""

from vqvae2_tf.commands import common
from vqvae2_tf.files.atomic import check_writable
from vqvae2_tf.flags import Flag
from vqvae2_tf.runs import folder
from vqvae2_tf.runs import pipeline
from vqvae2_tf.training.devices import open_devices

FLAGS = [
    common.RUN_DIR,
    common.output("Folder that the codes are written to."),
    *common.DEVICES,
    Flag("dataset", None, "Other images, as for vqvae2 train."),
    Flag("data_dir", None, "Folder of TFDS's data sets.", path=True),
]


def main(arguments):
    """Extracts the codes."""
    options = common.parse(FLAGS, arguments, __doc__)
    config = folder.read_config(options.run_dir)
    config = config.replace(
        dataset=options.dataset or config.dataset,
        data_dir=options.data_dir or config.data_dir,
    )
    check_writable("output", options.output)
    source = pipeline.open_images(config)
    run = pipeline.Run(
        config, open_devices(options.strategy, options.tpu), source
    )
    run.network(folder.AUTOENCODER)
    source.prepare()
    print(source.describe(), flush=True)
    with source.damage_reported():
        card = run.extract_codes(options.output)
    counts = [f"{count} ({split})" for split, count in card["splits"].items()]
    print(f"{options.output}: codes of {' and '.join(counts)} images")

"""The likelihood of a finished run's codes, as JSON.

    vqvae2 evaluate nll --run_dir=runs/emoji

Negative log likelihood of each level's codes under its prior, in nats a code
and in bits an image, of all codes of training beside the held-out ones, as in
table 1 of the VQ-VAE-2 paper. A prior without a likelihood has a metric of its
own in its place, MaskGIT the `bound`. The weights are the averaged ones.
"""

import json

from vqvae2_tf.commands import common
from vqvae2_tf.flags import Flag
from vqvae2_tf.runs import folder
from vqvae2_tf.runs.pipeline import Run
from vqvae2_tf.training.devices import open_devices

FLAGS = [
    common.RUN_DIR,
    *common.DEVICES,
    Flag("codes_dir", None, "Codes, if not RUN_DIR/codes.", path=True),
]


def main(arguments):
    """Prints the likelihoods of a run."""
    options = common.parse(FLAGS, arguments, __doc__)
    config = folder.read_config(options.run_dir)
    run = Run(config, open_devices(options.strategy, options.tpu))
    print(json.dumps(run.evaluate_priors(options.codes_dir), indent=2))

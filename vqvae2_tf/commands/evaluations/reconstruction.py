"""How far an autoencoder's reconstructions are from what went in.

    vqvae2 evaluate reconstruction --run_dir=runs/emoji --output=metrics.jsonl

MSE on the [0, 1] scale of pixels, pooled PSNR (of the mean MSE) and SSIM (Wang
et al. 2004; images of 11 pixels or more) of the very crops that went in, both
in eight bits. The images are the run's held-out ones, or those that --input
names, as for `vqvae2 evaluate features`. With --perceptual=NAME a learned
distance too: lpips_alex or lpips_vgg, whose two published files
--perceptual_weights names, or stlpips_alex, another distance, whose weights a
package has. A line of JSON for each is added to --output.
"""

import dataclasses
import importlib.metadata

from tqdm import tqdm

from vqvae2_tf.commands import common
from vqvae2_tf.commands.evaluations import features
from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation import results
from vqvae2_tf.evaluation.reconstruction_error import ReconstructionError
from vqvae2_tf.files.atomic import check_file_writable
from vqvae2_tf.flags import Flag
from vqvae2_tf.runs import inputs
from vqvae2_tf.runs.feature_networks import open_distance

_INPUT, *_OTHERS = features.INPUT
FLAGS = [
    *common.MODEL,
    dataclasses.replace(_INPUT, required=False),
    *_OTHERS,
    Flag("perceptual", None, "lpips_alex, lpips_vgg or stlpips_alex."),
    Flag(
        "perceptual_weights", [], "Files of its weights.", many=True, path=True
    ),
    common.output("File that results are added to, a line each."),
]
COLUMNS = ("name", "value", "standard_error", "n", "input")


def main(arguments):
    """Measures the reconstructions, prints the results and adds them."""
    options = common.parse(FLAGS, arguments, __doc__)
    check_file_writable("output", options.output)
    if not options.input:
        if not options.run_dir:
            raise UserError("--input must be given, or --run_dir.")
        options.input = f"run:{options.run_dir}@validation"
    model = common.load_autoencoder(options)
    reconstruct = inputs.reconstruction(model)
    images = features.open_images(options, model)
    distance = None
    if options.perceptual:
        distance = open_distance(options.perceptual, options.perceptual_weights)
    error = ReconstructionError(distance)
    for first in tqdm(range(0, images.count, options.batch_size)):
        count = min(options.batch_size, images.count - first)
        pixels, _ = images.read(first, count)
        error.add(pixels, reconstruct(pixels))
    rows = []
    for name, (value, standard_error) in error.results().items():
        card = {"network": None, "weights": None}
        if name == "distance":
            card = {"network": distance.name, "weights": distance.weights_hash}
            # Under its own name with the published weights alone.
            own = "" if distance.is_official else "_other_weights"
            name = distance.name + own
        rows.append(
            {
                "name": name,
                "value": value,
                "standard_error": standard_error,
                "n": images.count,
                "reference": options.input,
                **card,
                "resize": f"{images.size[0]}x{images.size[1]}",
                "input": options.input,
                "autoencoder": model.fingerprint,
                "version": importlib.metadata.version("vqvae2_tf"),
            }
        )
    results.append(options.output, rows)
    print(results.as_table(rows, COLUMNS))

"""The Inception network against published figures, where their files are.

    vqvae2 evaluate inception --check=DIR

DIR holds the network's weights, classify_image_graph_def.pb or
pt_inception-2015-12-05-6726825d.pth, and one set of images or both:

    cifar10_train.npz      arr_0: CIFAR-10's 50,000 training images in their
                           order, [50000, 32, 32, 3] uint8; their Inception
                           Score by torch-fidelity is 11.23678
    VIRTUAL_imagenet256_labeled.npz and
    admnet_guided_upsampled_imagenet256.npz
                           reference and samples of ADM's authors (Dhariwal and
                           Nichol 2021), whose evaluator gives IS 215.837,
                           FID 3.94256, sFID 6.14043, precision 0.8265 and
                           recall 0.5309

It prints each figure beside the published one, and the exit status is 1 if one
is farther off than its tolerance. Features of all images, some 1 GiB, are held
in memory. ADM's evaluator splits its samples for the Inception Score as they
come, while they are shuffled here, which is why that tolerance is wider.
"""

import os
import sys

import numpy as np
from tqdm import tqdm

from vqvae2_tf.commands import common
from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation import results
from vqvae2_tf.evaluation.frechet import Gaussian
from vqvae2_tf.evaluation.frechet import frechet_distance
from vqvae2_tf.evaluation.inception_score import inception_score
from vqvae2_tf.evaluation.precision_recall import precision_recall
from vqvae2_tf.flags import Flag
from vqvae2_tf.runs.feature_networks import open_network
from vqvae2_tf.runs.inputs import open_input

FLAGS = [
    Flag(
        "check",
        None,
        "Folder of the weights and of published images.",
        path=True,
        required=True,
    ),
    Flag("batch_size", 32, "Images at once.", 1),
]
WEIGHTS = (
    "pt_inception-2015-12-05-6726825d.pth",
    "weights-inception-2015-12-05-6726825d.pth",
    "classify_image_graph_def.pb",
)
CIFAR = "cifar10_train.npz"
REFERENCE = "VIRTUAL_imagenet256_labeled.npz"
SAMPLES = "admnet_guided_upsampled_imagenet256.npz"
# Published figure, and how far off it may be.
CIFAR_FIGURES = {"inception_score": (11.23678, 1e-3)}
ADM_FIGURES = {
    "inception_score": (215.837, 1.0),
    "fid": (3.94256, 0.01),
    "sfid": (6.14043, 0.01),
    "precision": (0.8265, 0.003),
    "recall": (0.5309, 0.003),
}
COLUMNS = ("images", "name", "value", "published", "tolerance", "agrees")


def main(arguments):
    """Compares the figures."""
    options = common.parse(FLAGS, arguments, __doc__)

    def path_of(name):
        path = os.path.join(options.check, name)
        return path if os.path.isfile(path) else None

    weights = next(filter(None, map(path_of, WEIGHTS)), None)
    has_adm = path_of(REFERENCE) and path_of(SAMPLES)
    if not weights or not (path_of(CIFAR) or has_adm):
        raise UserError(
            f"--check={options.check}: expected one of {', '.join(WEIGHTS)}, "
            f"and {CIFAR}, or {REFERENCE} and {SAMPLES}; see --help."
        )
    network = open_network("inception", weights)
    rows = []
    if path_of(CIFAR):
        found = extract(network, path_of(CIFAR), options.batch_size)
        score = inception_score(found["logits"]).value
        rows += compare("cifar10", {"inception_score": score}, CIFAR_FIGURES)
    if has_adm:
        originals, samples = (
            extract(network, path_of(name), options.batch_size)
            for name in (REFERENCE, SAMPLES)
        )
        figures = adm_figures(originals, samples, path_of(REFERENCE))
        rows += compare("adm", figures, ADM_FIGURES)
    print(results.as_table(rows, COLUMNS))
    if not all(row["agrees"] for row in rows):
        sys.exit(1)


def extract(network, path: str, batch_size: int) -> dict[str, np.ndarray]:
    """What a network returns for all images of an archive."""
    images = open_input(f"npz:{path}", flag="check")
    found = {}
    for first in tqdm(range(0, images.count, batch_size)):
        count = min(batch_size, images.count - first)
        pixels, _ = images.read(first, count)
        # Filled up: a batch of another size is compiled again.
        outputs = network(pixels[np.resize(np.arange(count), batch_size)])
        for name, values in outputs.items():
            found.setdefault(name, []).append(values[:count])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def adm_figures(originals, samples, reference_path) -> dict[str, float]:
    """The figures of ADM's evaluator.

    Args:
        originals: Outputs of the network for the reference's images.
        samples: Outputs for the samples.
        reference_path: Archive that may have the mean and covariance of more
            images than it has: `mu` and `sigma` of the features, `mu_s` and
            `sigma_s` of the spatial ones.
    """
    shares = precision_recall(samples["features"], originals["features"])
    found = {
        "inception_score": inception_score(samples["logits"]).value,
        "precision": shares.precision,
        "recall": shares.recall,
    }
    with np.load(reference_path) as archive:
        for name, output, ending in (
            ("fid", "features", ""),
            ("sfid", "spatial", "_s"),
        ):
            own = Gaussian([samples[output]])
            if f"mu{ending}" in archive:
                mean, covariance = (
                    archive[f"{part}{ending}"] for part in ("mu", "sigma")
                )
            else:
                other = Gaussian([originals[output]])
                mean, covariance = other.mean, other.covariance
            found[name] = frechet_distance(
                own.mean, own.covariance, mean, covariance
            )
    return found


def compare(images: str, found: dict, published: dict) -> list[dict]:
    """A row for each figure."""
    return [
        {
            "images": images,
            "name": name,
            "value": found[name],
            "published": value,
            "tolerance": tolerance,
            "agrees": bool(abs(found[name] - value) <= tolerance),
        }
        for name, (value, tolerance) in published.items()
    ]

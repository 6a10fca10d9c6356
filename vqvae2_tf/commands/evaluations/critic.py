"""A classifier's scores of samples, ranked within classes.

    vqvae2 evaluate critic --samples=features:CRITIC --output=scores.csv

Classifier-based rejection sampling, section 3.3 of the VQ-VAE-2 paper: CRITIC
holds logits of samples with classes, of a classifier that was trained on these
classes; a sample's score is the probability of its own class. The file has a
line a sample: its number and its class, its score, its rank in the class, from
0, and the smallest share of the paper's, 1, 0.75, 0.5, 0.3, 0.1 and 0.01, that
keeps it. `vqvae2 evaluate curve` measures what is kept.
"""

import io

import numpy as np

from vqvae2_tf.commands import common
from vqvae2_tf.commands.evaluations.distances import FeatureSet
from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation import rejection
from vqvae2_tf.evaluation import results
from vqvae2_tf.files import atomic
from vqvae2_tf.flags import Flag

FLAGS = [
    Flag(
        "samples",
        None,
        "Samples, with logits and labels: features:DIR.",
        required=True,
    ),
    common.output("CSV file for the scores."),
]


def scores_of(flag: str, critic: FeatureSet) -> tuple[np.ndarray, np.ndarray]:
    """Scores `[n]` of samples, and their labels `[n]`.

    Args:
        flag: Name of the flag that names the features.
        critic: Features with logits.

    Raises:
        UserError: If there are no logits or labels, or of other classes.
    """
    missing = {"logits", "labels"} - critic.arrays.keys()
    if missing:
        raise UserError(
            f"--{flag}: expected features with logits, of a classifier, and "
            "labels, of samples with classes. Received: none with "
            f"{' and '.join(sorted(missing))}"
        )
    logits, labels = (critic.arrays[n][:] for n in ("logits", "labels"))
    names = critic.card.get("class_names") or []
    if labels.min() < 0:
        raise UserError(
            f"--{flag}: expected samples that all have a class. Received: "
            f"{np.sum(labels < 0)} of {len(labels)} without one"
        )
    if len(names) not in (0, logits.shape[1]):
        raise UserError(
            f"--{flag}: expected a classifier of the samples' {len(names)} "
            f"classes. Received: one of {logits.shape[1]}"
        )
    try:
        return rejection.own_class_probabilities(logits, labels), labels
    except ValueError as error:
        raise UserError(f"--{flag}: {error}") from error


def main(arguments):
    """Writes the scores and prints what each share keeps."""
    options = common.parse(FLAGS, arguments, __doc__)
    critic = FeatureSet("samples", options.samples)
    scores, labels = scores_of("samples", critic)
    atomic.check_file_writable("output", options.output)
    order = rejection.order_within_classes(scores, labels)
    kept_at = np.ones(len(scores))
    rows = []
    for share in rejection.SHARES:
        kept = rejection.best_of_each_class(scores, labels, share)
        kept_at[kept] = share
        rows.append(
            {
                "share": share,
                "samples": len(kept),
                "mean score": float(scores[kept].mean()),
                "lowest": float(scores[kept].min()),
            }
        )
    text = io.StringIO()
    print("sample,label,score,rank,kept_at", file=text)
    columns = zip(labels, scores, order, kept_at, strict=True)
    for i, (label, score, rank, share) in enumerate(columns):
        print(f"{i},{label},{score:.6g},{rank},{share:g}", file=text)
    atomic.write_text(options.output, text.getvalue())
    print(results.as_table(rows, rows[0]))

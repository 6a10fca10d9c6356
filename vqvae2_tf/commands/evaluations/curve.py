"""Quality against diversity, over the shares of samples that a critic keeps.

    vqvae2 evaluate curve --samples=features:JUDGED --critic=features:CRITIC \\
        --originals=features:ORIGINALS --output=CURVE

Figures 8 to 10 of the VQ-VAE-2 paper: the critic ranks the samples within their
classes (`vqvae2 evaluate critic`), and the best 100, 75, 50, 30, 10 and 1 % are
measured with another network's features of the same samples: Fréchet distance
to the originals and, with --reconstructions, to these (FID*), Inception Score
where there are logits, precision and recall. Writes CURVE/curve.csv and
CURVE/curve.png.

Distances fall with the number of images. With --count, all points are of so
many samples, drawn of those that are kept, and shares that keep fewer have no
point; without, a point is of all that are kept. Each point's n stands in the
files, and beside its distance the `floor`: that of n originals to the others.
"""

import csv
import io
import os

import numpy as np

from vqvae2_tf.commands import common
from vqvae2_tf.commands.evaluations import distances
from vqvae2_tf.commands.evaluations.critic import scores_of
from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation import features
from vqvae2_tf.evaluation import rejection
from vqvae2_tf.evaluation import results
from vqvae2_tf.evaluation.inception_score import inception_score
from vqvae2_tf.evaluation.precision_recall import precision_recall
from vqvae2_tf.files import atomic
from vqvae2_tf.flags import Flag

# Of the third neighbours of precision and recall.
_SMALLEST = 4
FLAGS = [
    *distances.FLAGS[:3],
    Flag("critic", None, "Samples' logits: features:DIR.", required=True),
    Flag("count", 0, "Samples of each point; 0 for all that are kept.", 0),
    Flag("seed", 0, "Seed of the samples of a point.", 0, 2**31 - 1),
    common.output("Folder for curve.csv and curve.png."),
]


def open_pyplot(measure: str):
    """Matplotlib's canvas without a display.

    Args:
        measure: Name of the measure that needs it.

    Raises:
        UserError: If it is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            f"evaluate {measure} needs matplotlib: pip install "
            "'vqvae2_tf[evaluation]'."
        ) from error
    return Figure


def points(sets, scores, labels, count, seed) -> list[dict]:
    """A point a share, a dict of its columns; see the module."""
    samples, originals = sets["samples"], sets["originals"]
    rows = samples.arrays["features"]
    references = {
        name: distances.gaussian_of(own.arrays["features"])
        for name, own in sets.items()
        if name != "samples"
    }
    name = results.frechet_name(samples.card)
    found = []
    for share in rejection.SHARES:
        kept = rejection.best_of_each_class(scores, labels, share)
        if len(kept) < max(count, _SMALLEST):
            continue
        if count:
            order = np.random.RandomState(seed).permutation(len(kept))
            kept = np.sort(kept[order[:count]])
        chosen = features.Chosen(rows, kept)
        own = distances.gaussian_of(chosen)
        point = {"share": share, "n": len(kept)}
        point[name] = own.distance_to(references["originals"])
        point["floor"] = _floor(originals, len(kept), seed)
        if "reconstructions" in references:
            point[f"{name}*"] = own.distance_to(references["reconstructions"])
        if "logits" in samples.arrays and len(kept) >= 10:
            logits = samples.arrays["logits"][kept]
            score = inception_score(logits).value
            point[results.score_name(samples.card)] = score
        manifolds = precision_recall(chosen, originals.arrays["features"])
        point["precision"], point["recall"] = manifolds[:2]
        found.append(point)
    return found


def _floor(originals, count, seed):
    """The distance of some originals to the others, if there are enough."""
    if len(originals) < 2 * count:
        return None
    order = np.random.RandomState(seed).permutation(len(originals))
    rows = originals.arrays["features"]
    one, other = (
        distances.gaussian_of(features.Chosen(rows, np.sort(part)))
        for part in (order[:count], order[count:])
    )
    return one.distance_to(other)


def draw(figure, found) -> None:
    """Draws the points of `points`, joined, a panel a pair of columns."""
    columns = list(dict.fromkeys(name for point in found for name in point))
    across = [n for n in columns if n.startswith(("inception_", "is_"))]
    beside = [n for n in columns if n.startswith(("fid", "fd_"))]
    panels = [("recall", ["precision"])]
    if across:
        panels.insert(0, (across[0], beside))
    else:
        panels.insert(0, ("share", beside))
    figure.set_size_inches(5 * len(panels), 4)
    for i, (x, ys) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        for y in ys:
            pairs = [(p[x], p[y], p) for p in found if x in p and y in p]
            axes.plot(
                [p[0] for p in pairs], [p[1] for p in pairs], "o-", label=y
            )
            for *place, point in pairs:
                text = f"{point['share']:.0%}, n={point['n']:,}"
                axes.annotate(
                    text, place, (4, 4), textcoords="offset points", size=7
                )
        axes.set_xlabel(x)
        axes.set_ylabel(", ".join(ys))
        axes.margins(0.3, 0.1)
        if len(ys) > 1:
            axes.legend()
    figure.tight_layout()


def main(arguments):
    """Measures the points and draws them."""
    options = common.parse(FLAGS, arguments, __doc__)
    figure = open_pyplot("curve")()
    sets = distances.open_sets(options)
    for name in ("samples", "originals"):
        if name not in sets:
            raise UserError(f"--{name} must be given, as features:DIR.")
    critic = distances.FeatureSet("critic", options.critic)
    card, judge = critic.card, sets["samples"].card
    for key in ("count", "input", "images"):
        if card.get(key) != judge.get(key):
            raise UserError(
                f"--critic: expected features of the samples' {key}, "
                f"{judge.get(key)}. Received: {card.get(key)}"
            )
    scores, labels = scores_of("critic", critic)
    atomic.check_writable("output", options.output)
    if card.get("weights") == judge.get("weights"):
        print(rejection.SAME_NETWORK)
    found = points(sets, scores, labels, options.count, options.seed)
    if not found:
        raise UserError(
            f"--count: expected at most {len(scores)}, and of --samples at "
            f"least {_SMALLEST}. Received: {options.count}"
        )
    text = io.StringIO()
    names = list(dict.fromkeys(name for point in found for name in point))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    atomic.write_text(
        os.path.join(options.output, "curve.csv"), text.getvalue()
    )
    draw(figure, found)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    path = os.path.join(options.output, "curve.png")
    atomic.write_bytes(path, picture.getvalue())
    print(results.as_table(found, names))

"""Distances, precision and recall of samples, at equal numbers of images.

    vqvae2 evaluate distances --samples=features:SAMPLES \\
        --originals=features:ORIGINALS --reconstructions=features:RESTORED \\
        --output=metrics.jsonl

The inputs are folders that `vqvae2 evaluate features` wrote; --originals may be
stats:FILE, an .npz of mu and sigma as the field publishes them, of which only
Fréchet distances are measured. One table has, at one number of images n,

    fd             samples and originals
    fd*            samples and reconstructions: FID* of the VQ-VAE-2 paper
    rfd            reconstructions and originals: give those that went in
    fd_floor       one half of the originals and the other: what a perfect
                   model would have at its n, which is n or half of the
                   originals, if they are fewer than 2n

and the same of KID, with its standard error over subsets; the Inception Score
of each set with logits; precision, recall and realism. `fd` is called `fid`
with the official Inception network, weights, resizing and layer, and else
`fd_<network>`; after @ stands the split that the reference is, such as
rfid@validation beside fid@train. Each result is a line of JSON added to
--output.
"""

import importlib.metadata
import os

import numpy as np

from vqvae2_tf.commands import common
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.evaluation import features
from vqvae2_tf.evaluation import neighbours
from vqvae2_tf.evaluation import results
from vqvae2_tf.evaluation.frechet import Gaussian
from vqvae2_tf.evaluation.frechet import frechet_distance
from vqvae2_tf.evaluation.inception_score import inception_score
from vqvae2_tf.evaluation.kernel_distance import kernel_distance
from vqvae2_tf.evaluation.precision_recall import precision_recall
from vqvae2_tf.evaluation.rejection import SAME_NETWORK
from vqvae2_tf.files import atomic
from vqvae2_tf.flags import Flag

SETS = ("samples", "originals", "reconstructions")
FLAGS = [
    Flag("samples", None, "Samples: features:DIR."),
    Flag("originals", None, "Originals: features:DIR or stats:FILE."),
    Flag("reconstructions", None, "Reconstructions: features:DIR."),
    Flag("count", 0, "Images of each set; 0 for all of the smallest.", 0),
    Flag("seed", 0, "Seed of the images taken of larger sets.", 0, 2**31 - 1),
    common.output("File that results are added to, a line each."),
]
# What a distance is called, and its two sets; the second is the reference.
PAIRS = {
    "{}": ("samples", "originals"),
    "{}*": ("samples", "reconstructions"),
    "r{}": ("reconstructions", "originals"),
}
COLUMNS = ("name", "value", "standard_error", "n", "reference_n", "floor")


class FeatureSet:
    """Rows of a folder of features.

    Args:
        flag: Name of the flag that names it.
        text: The flag's value, `features:DIR`.

    Attributes:
        card: The folder's card.
        arrays: Its arrays by name.

    Raises:
        UserError: If it is no such folder.
    """

    def __init__(self, flag: str, text: str):
        kind, _, path = text.partition(":")
        if kind != "features" or not path:
            raise UserError(
                f"--{flag}: expected features:DIR, as `vqvae2 evaluate "
                f"features` writes it. Received: {text}"
            )
        try:
            self.card, self.arrays = features.open_features(
                os.path.expanduser(path)
            )
        except UserError as error:
            raise UserError(f"--{flag}: {error}") from error

    def __len__(self):
        return self.card["count"]

    def choose(self, count: int, seed: int) -> list[features.Chosen]:
        """Disjoint random parts of `count` rows, two if there are enough.

        Sets of one size are chosen from alike: images and their
        reconstructions stay together.
        """
        order = np.random.RandomState(seed).permutation(len(self))
        parts = [np.sort(order[:count]), np.sort(order[count : 2 * count])]
        rows = self.arrays["features"]
        return [
            features.Chosen(rows, part) for part in parts if len(part) == count
        ]


def open_sets(options) -> dict[str, FeatureSet]:
    """The folders of features that the flags name.

    Raises:
        UserError: If two are of different networks, or of other dimensions.
    """
    texts = {name: getattr(options, name, None) for name in SETS}
    sets = {
        name: FeatureSet(name, text)
        for name, text in texts.items()
        if text and not (name == "originals" and text.startswith("stats:"))
    }
    features.check_same_network({name: s.card for name, s in sets.items()})
    return sets


def read_statistics(flag: str, text: str) -> tuple[np.ndarray, np.ndarray]:
    """mu `[D]` and sigma `[D, D]` of stats:FILE.

    Raises:
        UserError: If the file has no such arrays.
    """
    path = os.path.expanduser(text.partition(":")[2])
    try:
        with np.load(path) as arrays:
            mean, covariance = arrays["mu"], arrays["sigma"]
        if mean.ndim != 1 or covariance.shape != mean.shape * 2:
            raise ValueError(f"mu {mean.shape}, sigma {covariance.shape}")
    except Exception as error:  # Of zip files, NumPy and the file system.
        raise UserError(
            f"--{flag}={text}: expected an .npz of mu [D] and sigma [D, D]. "
            f"Received: {one_line(error)}"
        ) from error
    return mean, covariance


def gaussian_of(rows) -> Gaussian:
    """Mean and covariance of features, a block at a time."""
    return Gaussian(rows[part] for part in neighbours.blocks(len(rows)))


def row(card, name, value, n, reference=None, **more) -> dict:
    """A result with what is needed to repeat it."""
    return {
        "name": name,
        "value": value,
        "standard_error": None,
        "n": n,
        "reference": reference and reference.get("input"),
        **{key: card.get(key) for key in features.NETWORK_KEYS},
        "input": card.get("input"),
        "version": importlib.metadata.version("vqvae2_tf"),
        **more,
    }


class Table:
    """Results of sets of features, at one number of images.

    Args:
        sets: `FeatureSet`s by `SETS`.
        count: Number of images of each set.
        seed: Of their choice.
        statistics: Tuple of the text, mean and covariance of the originals, if
            they are no `FeatureSet`.
    """

    def __init__(self, sets, count, seed, statistics=None):
        self._sets, self._count, self._seed = sets, count, seed
        self._statistics = statistics
        self._rows = {n: s.choose(count, seed)[0] for n, s in sets.items()}
        self._gaussians = {n: gaussian_of(r) for n, r in self._rows.items()}

    def results(self) -> list[dict]:
        """All results, as rows."""
        floors = self._floors()
        found = []
        for pattern, (name, other) in PAIRS.items():
            if name in self._sets and other in self._sets:
                found += self._pair(pattern, name, other, floors)
            elif name in self._sets and other == "originals":
                found += self._against_statistics(pattern, name)
        return [*found, *floors.values(), *self._scores(), *self._manifolds()]

    def _pair(self, pattern, name, other, floors):
        card, reference = self._sets[name].card, self._sets[other].card
        pair = self._rows[name], self._rows[other]
        value = self._gaussians[name].distance_to(self._gaussians[other])
        kernel = kernel_distance(*pair)
        split = results.split_of(reference)
        more = {"reference_n": self._count}
        base = results.frechet_name(card)
        yield row(
            card,
            pattern.format(base) + split,
            value,
            self._count,
            reference,
            **more,
            floor=floors.get("fd", {}).get("value"),
        )
        yield row(
            card,
            pattern.format(results.kernel_name(card)) + split,
            kernel.value,
            self._count,
            reference,
            **more,
            standard_error=_error_of(kernel),
            floor=floors.get("kd", {}).get("value"),
        )

    def _floors(self):
        """One half of the originals against the other."""
        if "originals" not in self._sets or len(self._sets["originals"]) < 4:
            return {}
        originals = self._sets["originals"]
        count = min(self._count, len(originals) // 2)
        one, other = originals.choose(count, self._seed + 1)
        kernel = kernel_distance(one, other)
        card = originals.card
        split = results.split_of(card)
        base = results.frechet_name(card)
        value = gaussian_of(one).distance_to(gaussian_of(other))
        more = {"reference_n": count}
        return {
            "fd": row(card, f"{base}_floor{split}", value, count, card, **more),
            "kd": row(
                card,
                f"{results.kernel_name(card)}_floor{split}",
                kernel.value,
                count,
                card,
                **more,
                standard_error=_error_of(kernel),
            ),
        }

    def _against_statistics(self, pattern, name):
        if self._statistics is None:
            return
        text, mean, covariance = self._statistics
        own, card = self._gaussians[name], self._sets[name].card
        value = frechet_distance(own.mean, own.covariance, mean, covariance)
        called = pattern.format(results.frechet_name(card))
        yield row(card, called, value, self._count, {"input": text})

    def _scores(self):
        for name, own in self._sets.items():
            if "logits" not in own.arrays or self._count < 10:
                continue
            chosen = self._rows[name]
            logits = own.arrays["logits"][chosen.numbers]
            score = inception_score(logits)
            called = results.score_name(own.card)
            yield row(
                own.card,
                called if name == "samples" else f"{called}_{name}",
                score.value,
                self._count,
                standard_error=score.deviation / np.sqrt(10),
                deviation=score.deviation,
            )

    def _manifolds(self):
        if not {"samples", "originals"} <= self._sets.keys():
            return
        card = self._sets["samples"].card
        reference = self._sets["originals"].card
        found = precision_recall(self._rows["samples"], self._rows["originals"])
        shares = {
            "precision": found.precision,
            "recall": found.recall,
            "realism_above_1": float(np.mean(found.realism > 1)),
        }
        for name, share in shares.items():
            yield row(
                card,
                name,
                share,
                self._count,
                reference,
                reference_n=self._count,
                standard_error=float(
                    np.sqrt(share * (1 - share) / self._count)
                ),
            )


def _error_of(kernel):
    """JSON has no NaN."""
    error = kernel.standard_error
    return None if np.isnan(error) else error


def main(arguments):
    """Measures the distances, prints them and adds them to a file."""
    options = common.parse(FLAGS, arguments, __doc__)
    sets = open_sets(options)
    statistics = None
    if (options.originals or "").startswith("stats:"):
        mean, covariance = read_statistics("originals", options.originals)
        statistics = options.originals, mean, covariance
    if not sets:
        raise UserError(
            "expected features of --samples, --originals or --reconstructions. "
            "Received: none"
        )
    # Precision and recall look at third neighbours.
    if 0 < options.count < 4:
        raise UserError(
            f"--count: expected 0 or at least 4. Received: {options.count}"
        )
    count = options.count or min(map(len, sets.values()))
    for name, own in sets.items():
        if len(own) < max(count, 4):
            raise UserError(
                f"--{name}: expected at least {max(count, 4)} images. "
                f"Received: {len(own)}"
            )
        dims = own.arrays["features"].shape[1]
        if statistics and dims != len(statistics[1]):
            raise UserError(
                f"--originals={options.originals}: expected mu of {dims}, the "
                f"features of --{name}. Received: {len(statistics[1])}"
            )
    atomic.check_file_writable("output", options.output)
    if any(
        s.card.get("kept_by") == s.card.get("weights") for s in sets.values()
    ):
        print(SAME_NETWORK)
    rows = Table(sets, count, options.seed, statistics).results()
    results.append(options.output, rows)
    print(results.as_table(rows, COLUMNS))

"""The samples that a critic keeps (section 3.3 of the VQ-VAE-2 paper)."""

import os
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation.rejection import order_within_classes
from vqvae2_tf.evaluation.rejection import own_class_probabilities
from vqvae2_tf.files import atomic
from vqvae2_tf.files import filesystem
from vqvae2_tf.files.grids import to_rgb
from vqvae2_tf.files.grids import to_uint8
from vqvae2_tf.runs.feature_networks import open_network
from vqvae2_tf.runs.samples import CARD
from vqvae2_tf.runs.samples import SampleFolder

_WEIGHTS = "critic_weights"


class Critic:
    """A classifier that scores samples by the probability of their class.

    Args:
        name: As for `feature_networks.open_network`.
        image: `[H, W, C]` float32 in [-1, 1], of the samples' size.
        num_classes: Number of the samples' classes.

    Attributes:
        settings: Which network it is, for the card of a folder.

    Raises:
        UserError: If it is no classifier of so many classes.
    """

    def __init__(self, name: str, image: np.ndarray, num_classes: int):
        self._name = name
        self._network = open_network(name, flag="critic")
        found = "a network without logits"
        if self._network.classes:
            classes = self._logits(image[None]).shape[1]
            found = f"one of {classes}"
        if found != f"one of {num_classes}":
            raise UserError(
                f"--critic={name}: expected a classifier of the priors' "
                f"{num_classes} classes. Received: {found}"
            )
        card = self._network.card()
        self.settings = {"critic": card["network"], _WEIGHTS: card["weights"]}

    def _logits(self, images):
        logits = self._network(to_rgb(to_uint8(images)))["logits"]
        if not np.isfinite(logits).all():
            raise UserError(
                f"--critic={self._name}: expected finite logits. Received: "
                "infinite ones or NaN"
            )
        return logits

    def __call__(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Scores `[B]` of images `[B, H, W, C]` float32 in [-1, 1]."""
        return own_class_probabilities(self._logits(images), labels)


def best_numbers(
    folder: SampleFolder,
    labels: Sequence[int],
    count: int,
    candidates: int,
    draw: Callable[[list[tuple[int, int, int]]], np.ndarray],
    critic: Critic,
    batch_size: int,
) -> dict[int, list[int]]:
    """Numbers of the best samples of each class, sorted.

    The scores of a class's candidates are written to the folder batch by
    batch, `scores/<class>.json`, so that they are drawn once.

    Args:
        folder: Folder of the samples.
        labels: Labels of the classes.
        count: Samples of a class that are kept.
        candidates: Samples of a class to choose from, those of the first
            numbers.
        draw: Function of a batch of samples, `(label, index, 0)`, to their
            images, `[batch_size, H, W, C]` float32 in [-1, 1], the first ones
            again where the batch has fewer.
        critic: Scores them.
        batch_size: Samples drawn at once.
    """
    best = {}
    progress = tqdm(
        total=candidates * len(labels), desc="candidates", unit="img"
    )
    with progress:
        for label in labels:
            path = folder.scores_path(label)
            scores = []
            if filesystem.exists(path):
                advice = "remove it to draw the candidates again"
                scores = atomic.read_json(path, advice)["scores"]
            progress.update(len(scores))
            while len(scores) < candidates:
                stop = min(len(scores) + batch_size, candidates)
                batch = [(label, i, 0) for i in range(len(scores), stop)]
                found = critic(draw(batch), np.full(batch_size, label))
                scores += found[: len(batch)].tolist()
                atomic.write_json(path, {"scores": scores})
                progress.update(len(batch))
            ranks = order_within_classes(scores, np.zeros(candidates))
            best[label] = np.flatnonzero(ranks < count).tolist()
    return best


def critic_of(text: str) -> str | None:
    """Hash of the critic that kept the images of `folder:DIR`; None if none."""
    kind, _, path = text.partition(":")
    path = os.path.abspath(os.path.expanduser(path))
    for folder in (path, os.path.dirname(path)):
        card = os.path.join(folder, CARD)
        if kind == "folder" and os.path.isfile(card):
            try:
                return atomic.read_json(card, "").get(_WEIGHTS)
            except (UserError, AttributeError):
                return None  # Not ours.
    return None

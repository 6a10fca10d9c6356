"""Pretrained networks and distances, found by the names that flags give."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.evaluation import networks
from vqvae2_tf.evaluation import perceptual
from vqvae2_tf.evaluation.networks.base import FeatureNetwork
from vqvae2_tf.evaluation.perceptual.base import PerceptualDistance
from vqvae2_tf.export.load import without_wildcards
from vqvae2_tf.files.atomic import read_bytes
from vqvae2_tf.files.weights import read_weights
from vqvae2_tf.runs import modules


def open_network(name: str, weights: str | None = None, flag: str = "network"):
    """Opens a network with its weights.

    Args:
        name: A module of `vqvae2_tf.evaluation.networks`, with a dot any
            module's full path, or the path of a SavedModel.
        weights: Path of the weights; None for the network's own.
        flag: Name of the flag that names the network.

    Returns:
        A function of images, `[B, H, W, 3]` uint8, which returns a dict of
        `features` `[B, D]` float32 and, of classifiers, `logits` `[B, C]`
        float32; `classes` says whether. Its `card()` says what the features
        are.

    Raises:
        UserError: If there is no such network, or no weights fit it.
    """
    path = os.path.expanduser(name)
    if os.path.isfile(os.path.join(path, "saved_model.pb")):
        return SavedModelNetwork(path, flag)
    others = ", or the folder of a SavedModel"
    model = modules.find(flag, networks, FeatureNetwork, name, others)
    try:
        path = weights or model.default_weights()
    except UserError as error:
        if flag == "network":
            raise
        # Where no flag names weights.
        raise UserError(
            f"--{flag}={name}: expected a network with weights of its own"
            f"{others}."
        ) from error
    network = model(read_weights(path, "weights"))
    network.is_official = _sha256(path) in model.official_files
    return network


def open_distance(name: str, weights: Sequence[str] = ()) -> PerceptualDistance:
    """Opens a perceptual distance with its weights.

    Args:
        name: A module of `vqvae2_tf.evaluation.perceptual`, or with a dot any
            module's full path.
        weights: Paths of the weights; none for the distance's own.

    Raises:
        UserError: If there is no such distance, or no weights fit it.
    """
    model = modules.find("perceptual", perceptual, PerceptualDistance, name)
    paths = weights or model.default_weights()
    arrays = {}
    for path in paths:
        arrays |= read_weights(path, "perceptual_weights")
    distance = model(arrays)
    published = model.published_files
    distance.is_official = len(paths) == len(published) and all(
        _sha256(path).startswith(allowed)
        for path, allowed in zip(paths, published, strict=True)
    )
    return distance


class SavedModelNetwork:
    """Any SavedModel as a feature network.

    Its signature `serving_default` takes images `[B, H, W, 3]` in [0, 255],
    uint8 or float32, of any size: it does its own resizing. It returns
    `features` `[B, D]`, and `logits` `[B, C]` if it likes.

    Args:
        path: Path of the SavedModel.
        flag: Name of the flag that names it.

    Raises:
        UserError: If it has no such signature.
    """

    is_official = False

    def __init__(self, path: str, flag: str = "network"):
        try:
            # Kept, as its variables go with it.
            with without_wildcards(path) as plain:
                self._model = tf.saved_model.load(plain)
            fingerprint = tf.saved_model.experimental.read_fingerprint(path)
        except Exception as error:  # Damage raises any of many types.
            raise UserError(
                f"--{flag}={path} cannot be loaded: {one_line(error)}"
            ) from error
        call = self._model.signatures.get("serving_default")
        inputs = call.structured_input_signature[1] if call else {}
        outputs = call.structured_outputs if call else {}
        if len(inputs) != 1 or "features" not in outputs:
            raise UserError(
                f"--{flag}={path}: expected a signature serving_default of "
                "one input, images, with an output named features. Received: "
                f"{len(inputs)} inputs and the outputs {sorted(outputs)}"
            )
        ((self._input, spec),) = inputs.items()
        self._call, self._dtype = call, spec.dtype
        self._names = [n for n in ("features", "logits") if n in outputs]
        self.classes = len(self._names) > 1
        self.name = os.path.basename(os.path.abspath(path))
        self.weights_hash = (
            f"{fingerprint.graph_def_program_hash:016x}"
            f"{fingerprint.checkpoint_hash:016x}"
        )

    def card(self) -> dict[str, str]:
        """See `FeatureNetwork.card`."""
        return {
            "network": self.name,
            "weights": self.weights_hash,
            "resize": "own",
            "layer": "features",
        }

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """See `FeatureNetwork`."""
        images = tf.cast(images, self._dtype)
        found = self._call(**{self._input: images})
        return {
            name: tf.cast(found[name], tf.float32).numpy()
            for name in self._names
        }


def _sha256(path):
    return hashlib.sha256(read_bytes(path)).hexdigest()

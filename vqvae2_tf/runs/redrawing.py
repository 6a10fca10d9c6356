"""A level's codes drawn again, in the place of those of given images."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from vqvae2_tf.autoencoders.base import Autoencoder
from vqvae2_tf.level import Level
from vqvae2_tf.priors.base import Prior
from vqvae2_tf.sampling import sample
from vqvae2_tf.training.devices import Devices

Maps = list[np.ndarray]


def make_redraw(
    prior: Prior, devices: Devices, seed: int, options: Mapping[str, Any]
) -> Callable[[Mapping, np.ndarray], tuple[Maps, Maps]]:
    """What draws a prior's level again, given all that it is conditioned on.

    Args:
        prior: The prior of one level.
        devices: `Devices` that the prior trains on.
        seed: Fixes the noise.
        options: The prior's sampling options.

    Returns:
        Function of a batch of codes (`codes`, coarsest first, and with classes
        `label`) and of a number for each image `[B]`, which with the seed fixes
        its noise. It gives the code maps up to the prior's level twice: as they
        are, and with that level drawn with the weights in the prior, of the
        same classes and coarser codes. It is compiled for each size of batch.
    """
    draw = devices.sampling(
        prior, lambda given: sample(prior, **given, seed=seed, **options)
    )

    def redraw(batch, sample_ids):
        maps = batch["codes"][: len(prior.coarser) + 1]
        *coarser, codes = map(np.asarray, maps)
        ids = np.asarray(sample_ids, "int32")
        given = {"coarser": coarser, "sample_ids": ids}
        if prior.num_classes:
            given["labels"] = np.asarray(batch["label"])
        return [*coarser, codes], [*coarser, draw(given)]

    return redraw


def partial_decoder(
    autoencoder: Autoencoder, levels: Sequence[Level]
) -> Callable[[Maps], np.ndarray]:
    """Decodes code maps of the coarser levels, the finer ones left out.

    Args:
        autoencoder: Its `decode` makes the images.
        levels: All its `Level`s, coarsest first.

    Returns:
        Function of code maps, coarsest first, to images `[B, H, W, C]`.
    """

    def decode(maps):
        hidden = [
            np.full((len(maps[0]), *level.shape), level.unknown, level.dtype)
            for level in levels[len(maps) :]
        ]
        images = autoencoder.decode([*maps, *hidden])
        return keras.ops.convert_to_numpy(images)

    return decode

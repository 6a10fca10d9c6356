"""Samples of a prior while it trains, beside held-out images."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from vqvae2_tf.autoencoders.base import Autoencoder
from vqvae2_tf.files.grids import draw_grid
from vqvae2_tf.level import Level
from vqvae2_tf.priors.base import Prior
from vqvae2_tf.sampling import sample
from vqvae2_tf.training.devices import Devices
from vqvae2_tf.training.loop import Examples

_COLUMNS = 8


def make_sample_grid(
    prior: Prior,
    held_out: Examples,
    count: int,
    decode: Callable[[list[np.ndarray]], np.ndarray],
    devices: Devices,
    seed: int,
    options: Mapping[str, Any],
) -> Callable[[], dict[str, np.ndarray]]:
    """What shows the prior's samples during its training.

    The samples have the classes and the coarser codes of the first held-out
    images, and always the same noise, so that all that changes from one grid to
    the next is the prior. Finer levels are left out. Above each sample is the
    held-out image, from its codes of the same levels.

    Args:
        prior: The prior of one level.
        held_out: Held-out codes.
        count: Number of samples; at most that of the held-out images.
        decode: Function of code maps of the levels up to the prior's, coarsest
            first, to images `[B, H, W, C]` in [-1, 1].
        devices: `Devices` that the prior trains on.
        seed: Fixes the noise.
        options: The prior's sampling options.

    Returns:
        Function without arguments that draws the samples, with the weights in
        the prior, and gives `{"samples": [1, height, width, 3]}` in [-1, 1]. It
        is compiled at the first call.
    """
    batch = next(held_out.evaluation_arrays(count))
    count = int(np.sum(batch["weight"]))
    *coarser, codes = (
        np.asarray(maps[:count])
        for maps in batch["codes"][: len(prior.coarser) + 1]
    )
    given = {"coarser": coarser, "sample_ids": np.arange(count, dtype="int32")}
    if prior.num_classes:
        given["labels"] = np.asarray(batch["label"][:count])
    draw = devices.sampling(
        prior, lambda given: sample(prior, **given, seed=seed, **options)
    )
    originals = decode([*coarser, codes])

    def grid():
        drawn = decode([*coarser, draw(given)])
        rows = []
        for start in range(0, count, _COLUMNS):
            stop = start + _COLUMNS
            rows += [originals[start:stop], drawn[start:stop]]
        pixels = draw_grid(rows, ["held-out", "sampled"] * (len(rows) // 2))
        return {"samples": pixels[None] / np.float32(127.5) - 1}

    return grid


def partial_decoder(
    autoencoder: Autoencoder, levels: Sequence[Level]
) -> Callable[[list[np.ndarray]], np.ndarray]:
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

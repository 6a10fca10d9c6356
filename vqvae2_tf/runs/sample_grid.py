"""Samples of a prior while it trains, beside held-out images."""

from collections.abc import Callable

import keras
import numpy as np

from vqvae2_tf.files.grids import draw_grid
from vqvae2_tf.training.loop import Examples

_COLUMNS = 8


def make_sample_grid(
    redraw: Callable, held_out: Examples, count: int, decode: Callable
) -> Callable[[], dict[str, np.ndarray]]:
    """What shows a prior's samples during its training.

    The samples have the classes and the coarser codes of the first held-out
    images, and always the same noise, so that all that changes from one grid to
    the next is the prior. Finer levels are left out. Above each sample is the
    held-out image, from its codes of the same levels.

    Args:
        redraw: What `make_redraw` makes of the prior.
        held_out: Held-out codes.
        count: Number of samples; at most that of the held-out images.
        decode: Function of code maps of the levels up to the prior's, coarsest
            first, to images `[B, H, W, C]` in [-1, 1].

    Returns:
        Function without arguments that draws the samples, with the weights in
        the prior, and gives `{"samples": [1, height, width, 3]}` in [-1, 1].
    """
    batch = next(held_out.evaluation_arrays(count))
    count = int(np.sum(batch["weight"]))
    batch = keras.tree.map_structure(lambda x: x[:count], batch)

    def grid():
        originals, drawn = map(decode, redraw(batch, np.arange(count)))
        rows = []
        for start in range(0, count, _COLUMNS):
            stop = start + _COLUMNS
            rows += [originals[start:stop], drawn[start:stop]]
        pixels = draw_grid(rows, ["held-out", "sampled"] * (len(rows) // 2))
        return {"samples": pixels[None] / np.float32(127.5) - 1}

    return grid

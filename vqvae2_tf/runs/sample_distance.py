"""Fréchet distance of a prior's samples while it trains."""

from collections.abc import Callable

import numpy as np

from vqvae2_tf.evaluation import results
from vqvae2_tf.evaluation.frechet import Gaussian
from vqvae2_tf.files.grids import to_rgb
from vqvae2_tf.files.grids import to_uint8
from vqvae2_tf.training.loop import Examples

_BATCH = 32


def make_sample_distance(
    redraw: Callable, examples: Examples, decode: Callable, network: Callable
) -> Callable[[], dict[str, float]]:
    """What measures a prior's samples during its training.

    Each example's level is drawn again, given its class and its coarser codes,
    and always with the same noise. Features of these samples are compared with
    those of the examples, both decoded from their codes without the finer
    levels: of an image the distance sees what the prior is to model, and
    nothing of what the autoencoder loses.

    Args:
        redraw: What `make_redraw` makes of the prior.
        examples: Codes; their number is that of the samples, of which the
            distance depends much.
        decode: Function of code maps of the levels up to the prior's, coarsest
            first, to images `[B, H, W, C]` in [-1, 1].
        network: The `FeatureNetwork`.

    Returns:
        Function without arguments that draws the samples, with the weights in
        the prior, and gives `{"fd_<network>*": distance}`.
    """
    name = f"{results.frechet_name(network.card())}*"

    def features_of(maps, count):
        return network(to_rgb(to_uint8(decode(maps))))["features"][:count]

    reference = Gaussian()

    def distance():
        is_first = not reference.count
        drawn = Gaussian()
        for i, batch in enumerate(examples.evaluation_arrays(_BATCH)):
            count = int(np.sum(batch["weight"]))
            sample_ids = i * _BATCH + np.arange(len(batch["weight"]))
            originals, samples = redraw(batch, sample_ids)
            if is_first:
                reference.update(features_of(originals, count))
            drawn.update(features_of(samples, count))
        return {name: drawn.distance_to(reference)}

    return distance

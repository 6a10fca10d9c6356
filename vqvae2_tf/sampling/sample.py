"""Sampling of one level's codes, and of all levels' after one another."""

from keras import ops

from vqvae2_tf.sampling.naive import sample_naive
from vqvae2_tf.sampling.noise import gumbel
from vqvae2_tf.sampling.noise import random_bits

METHODS = {"naive": sample_naive}


def sample(
    prior,
    labels=None,
    coarser=(),
    batch_size=None,
    temperature=1.0,
    seed=0,
    method="naive",
    first_image=0,
):
    """Samples one level's code maps.

    Image i of a seed is the same whatever the batch it is sampled in, up to
    rounding of the network: its noise depends only on the seed, i, the level
    and the position.

    Args:
        prior: A `PixelSNAIL`, or what is called like one.
        labels: `[B]` int32 in [0, num_classes), if the prior has classes.
        coarser: List of the coarser levels' codes, `[B, h, w]` int32,
            coarsest first.
        batch_size: B, if neither labels nor coarser codes say it.
        temperature: Positive; the logits are divided by it.
        seed: int, or integer scalar tensor; fixes the result.
        method: A key of `METHODS`.
        first_image: Number of the batch's first image in the whole sample.

    Returns:
        Codes `[B, H, W]` int32 in [0, K).

    Raises:
        ValueError: If `method` is unknown, the temperature is a number that
            is not positive, or B is not given.
    """
    if method not in METHODS:
        raise ValueError(
            f"`method` must be one of {sorted(METHODS)}. Received: {method}"
        )
    if isinstance(temperature, (int, float)) and not temperature > 0:
        raise ValueError(
            f"`temperature` must be positive. Received: {temperature}"
        )
    if labels is not None:
        labels = ops.convert_to_tensor(labels, dtype="int32")
        batch_size = ops.shape(labels)[0]
    elif len(coarser):
        batch_size = ops.shape(coarser[0])[0]
    elif batch_size is None:
        raise ValueError(
            "`batch_size` must be given without labels or coarser codes."
        )
    images = first_image + ops.arange(batch_size, dtype="int32")

    def noise(position):
        positions = ops.reshape(ops.cast(position, "int32"), (1,))
        bits = random_bits(
            seed, images, positions, prior.num_codes, stream=len(coarser)
        )
        return gumbel(bits)[:, 0]

    return METHODS[method](
        prior,
        noise,
        labels=labels,
        coarser=coarser,
        temperature=temperature,
    )


def sample_levels(
    priors,
    labels=None,
    batch_size=None,
    temperatures=None,
    seed=0,
    method="naive",
    first_image=0,
):
    """Samples all levels, each given the coarser ones (algorithm 2).

    Args:
        priors: One prior a level, coarsest first.
        labels: As in `sample`, for every prior that has classes.
        batch_size: As in `sample`.
        temperatures: One temperature a level; 1 by default.
        seed: As in `sample`.
        method: As in `sample`.
        first_image: As in `sample`.

    Returns:
        List of codes `[B, h, w]` int32, coarsest first.
    """
    codes = []
    for level, prior in enumerate(priors):
        codes.append(
            sample(
                prior,
                labels=labels if prior.num_classes else None,
                coarser=list(codes),
                batch_size=batch_size,
                temperature=1.0
                if temperatures is None
                else temperatures[level],
                seed=seed,
                method=method,
                first_image=first_image,
            )
        )
    return codes

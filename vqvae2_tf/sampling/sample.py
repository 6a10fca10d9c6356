"""Sampling of one level's codes, and of all levels' after one another."""

import numbers

from keras import ops

from vqvae2_tf.sampling.incremental import sample_incremental
from vqvae2_tf.sampling.naive import sample_naive
from vqvae2_tf.sampling.noise import gumbel
from vqvae2_tf.sampling.noise import random_bits
from vqvae2_tf.sampling.truncation import keep_top_k
from vqvae2_tf.sampling.truncation import keep_top_p

METHODS = {"naive": sample_naive, "incremental": sample_incremental}


def sample(
    prior,
    labels=None,
    coarser=(),
    batch_size=None,
    temperature=1.0,
    seed=0,
    method="incremental",
    images=None,
    top_k=None,
    top_p=None,
    given=None,
    keep=None,
):
    """Samples one level's code maps.

    Gumbel-max: the code at a position is the argmax of logits / temperature
    plus noise. Image i of a seed is the same whatever the batch it is sampled
    in, up to rounding of the network: its noise depends only on the seed, i,
    the level and the position. To be compiled by the caller; eagerly it is
    slow on TensorFlow.

    Args:
        prior: A `PixelSNAIL`, or what is called like one.
        labels: `[B]` int32 in [0, num_classes), if the prior has classes.
        coarser: List of the coarser levels' codes, `[B, h, w]` int32,
            coarsest first.
        batch_size: B, if neither labels, nor coarser nor given codes nor
            `images` say it.
        temperature: At least 1e-6; the logits are divided by it.
        seed: int, or integer scalar tensor; fixes the result.
        method: A key of `METHODS`.
        images: `[B]` int32, the number of each image in the whole sample;
            0 to B - 1 by default.
        top_k: Only the `top_k` likeliest codes are drawn; an int or integer
            scalar tensor, 1 or more, or None for all.
        top_p: Only the likeliest codes that together reach this probability
            (after temperature and top-k) are drawn; a float or scalar tensor
            in (0, 1], or None for all.
        given: `[B, H, W]` int32, codes of which some are kept: a partial map
            to complete or to paint into.
        keep: `[H, W]` or `[B, H, W]` bool, where the given codes are kept.
            The other positions are drawn in raster order, each from what is
            kept and drawn before it.

    Returns:
        Codes `[B, H, W]` int32 in [0, K).

    Raises:
        ValueError: If `method` is unknown, a number is out of range, B is not
            said or said in two ways, or only one of `given` and `keep` is
            there.
    """
    _check_numbers(method, temperature, top_k, top_p)
    if (given is None) != (keep is None):
        raise ValueError(
            "`given` and `keep` go together. Received: "
            f"given={given}, keep={keep}"
        )
    if labels is not None:
        labels = ops.convert_to_tensor(labels, dtype="int32")
    if images is not None:
        images = ops.convert_to_tensor(images, dtype="int32")
    if given is not None:
        given = ops.convert_to_tensor(given, dtype="int32")
    batch_size = _batch_size(batch_size, images, labels, *coarser, given)
    if given is not None:
        given, keep = _flat_given(prior.map_size, batch_size, given, keep)
    if images is None:
        images = ops.arange(batch_size, dtype="int32")

    def noise(positions):
        bits = random_bits(
            seed, images, positions, prior.num_codes, stream=len(coarser)
        )
        return gumbel(bits)

    def choose(logits, noise, position):
        logits = logits / temperature
        if top_k is not None:
            logits = keep_top_k(logits, top_k)
        if top_p is not None:
            logits = keep_top_p(logits, top_p)
        codes = ops.cast(ops.argmax(logits + noise, axis=-1), "int32")
        if given is None:
            return codes

        def here(x):
            return ops.slice(x, (0, position), (batch_size, 1))[:, 0]

        return ops.where(here(keep), here(given), codes)

    return METHODS[method](
        prior, noise, choose, batch_size, labels=labels, coarser=coarser
    )


def sample_levels(
    priors,
    labels=None,
    batch_size=None,
    temperatures=None,
    seed=0,
    method="incremental",
    images=None,
    top_ks=None,
    top_ps=None,
    given=None,
    keep=None,
):
    """Samples all levels, each given the coarser ones (algorithm 2).

    Many bottoms of one top: the top's codes, repeated, as the first of
    `given`.

    Args:
        priors: One prior a level, coarsest first.
        labels: As in `sample`, for every prior that has classes.
        batch_size: As in `sample`.
        temperatures: One temperature a level; 1 by default.
        seed: As in `sample`.
        method: As in `sample`.
        images: As in `sample`.
        top_ks: One `top_k` of `sample` a level; None for all codes.
        top_ps: One `top_p` of `sample` a level; None for all codes.
        given: One `given` of `sample` a level; None for none.
        keep: One `keep` of `sample` a level; where it is None, given codes
            are the level's, whole.

    Returns:
        List of codes `[B, h, w]` int32, coarsest first.

    Raises:
        ValueError: As in `sample`; if a list has not one entry a level.
    """
    count = len(priors)

    def by_level(name, values, default=None):
        if values is None:
            return [default] * count
        if len(values) != count:
            raise ValueError(
                f"`{name}` must have one entry for each of the {count} "
                f"levels. Received: {len(values)}"
            )
        return values

    options = zip(
        by_level("temperatures", temperatures, 1.0),
        by_level("top_ks", top_ks),
        by_level("top_ps", top_ps),
        by_level("given", given),
        by_level("keep", keep),
        strict=True,
    )
    codes = []
    for prior, (temperature, top_k, top_p, old, kept) in zip(
        priors, options, strict=True
    ):
        if old is not None and kept is None:
            codes.append(ops.convert_to_tensor(old, dtype="int32"))
            continue
        codes.append(
            sample(
                prior,
                labels=labels if prior.num_classes else None,
                coarser=list(codes),
                batch_size=batch_size,
                temperature=temperature,
                seed=seed,
                method=method,
                images=images,
                top_k=top_k,
                top_p=top_p,
                given=old,
                keep=kept,
            )
        )
    return codes


def _check_numbers(method, temperature, top_k, top_p):
    """Raises `ValueError` for what can be told before the first tensor."""
    if method not in METHODS:
        raise ValueError(
            f"`method` must be one of {sorted(METHODS)}. Received: {method}"
        )
    if isinstance(temperature, numbers.Real) and not temperature >= 1e-6:
        raise ValueError(
            f"`temperature` must be at least 1e-6. Received: {temperature}"
        )
    if isinstance(top_k, numbers.Real) and top_k < 1:
        raise ValueError(f"`top_k` must be 1 or more. Received: {top_k}")
    if isinstance(top_p, numbers.Real) and not 0 < top_p <= 1:
        raise ValueError(f"`top_p` must be in (0, 1]. Received: {top_p}")


def _batch_size(batch_size, *batched):
    """B, as all say it that say it; a tensor if it is not known yet."""
    told = [x for x in batched if x is not None]
    sizes = [x.shape[0] for x in told]
    sizes = {size for size in (batch_size, *sizes) if isinstance(size, int)}
    if len(sizes) > 1:
        raise ValueError(
            "`batch_size`, `images`, `labels` and codes must be of equally "
            f"many images. Received: {sorted(sizes)}"
        )
    if sizes:
        return sizes.pop()
    if told:
        return ops.shape(told[0])[0]
    if batch_size is None:
        raise ValueError(
            "`batch_size` must be given without images, labels or other codes."
        )
    return batch_size


def _flat_given(map_size, batch_size, given, keep):
    """Given codes and where they are kept, both `[B, H * W]`."""
    keep = ops.convert_to_tensor(keep, dtype="bool")
    for name, value in (("given", given), ("keep", keep)):
        if tuple(value.shape[-2:]) != map_size:
            raise ValueError(
                f"`{name}` must have the map size {map_size}. Received: "
                f"shape {tuple(value.shape)}"
            )
    keep = ops.broadcast_to(keep, (batch_size, *map_size))
    return ops.reshape(given, (batch_size, -1)), ops.reshape(
        keep, (batch_size, -1)
    )

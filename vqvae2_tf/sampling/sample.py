"""Sampling of one level's codes, and of all levels' after one another."""

import numbers

from keras import ops

from vqvae2_tf.flags import Flag
from vqvae2_tf.flags import empty_batch
from vqvae2_tf.sampling.noise import Noise


def sample(
    prior,
    labels=None,
    coarser=(),
    batch_size=None,
    seed=0,
    sample_ids=None,
    known=None,
    known_mask=None,
    **options,
):
    """Samples one level's code maps.

    Sample i of a seed is the same whatever batch it is drawn in, up to rounding
    of the network: its noise depends only on the seed, i, the level and the
    position. The caller compiles this function: eagerly it is slow on
    TensorFlow.

    Args:
        prior: `priors.Prior`.
        labels: `[B]` int32 in [0, num_classes), if the prior has classes.
        coarser: List of the coarser levels' codes, `[B, h, w]` int32,
            coarsest first.
        batch_size: B, if no other argument determines it.
        seed: int, or integer scalar tensor; fixes the result.
        sample_ids: `[B]` int32, the number of each sample; 0 to B - 1 by
            default.
        known: `[B, H, W]` int32, codes of which some are kept: a partial map
            to complete or to paint into.
        known_mask: `[H, W]` or `[B, H, W]` bool, where the known codes are
            kept. The other positions are drawn from what is kept and drawn
            before them.
        **options: The prior's sampling options by name, numbers or scalar
            tensors; a choice may be its name, or its number, from 0 on. Of
            `PixelSNAIL` temperature, top_k and top_p (see
            `priors.heads.CategoricalHead`), and those of `guidance`.

    Returns:
        Codes `[B, H, W]` int32 in [0, K).

    Raises:
        ValueError: If an option is unknown, B is 0, not determined or in two
            ways, or only one of `known` and `known_mask` is given. Also if an
            option, a label or a code is out of range; not while the call is
            traced (`tf.function`, `jax.jit`), as tensors have no values then.
    """
    if (known is None) != (known_mask is None):
        raise ValueError("`known` and `known_mask` must be given together.")

    def tensor(value, dtype):
        return None if value is None else ops.convert_to_tensor(value, dtype)

    level = prior.level
    _check_labels(prior, labels)
    for other, maps in zip(prior.coarser, coarser, strict=False):
        _check_codes("coarser", other, maps)
    labels = tensor(labels, "int32")
    sample_ids = tensor(sample_ids, "int32")
    known = tensor(known, level.dtype)
    known_mask = tensor(known_mask, "bool")
    batched = {"sample_ids": [sample_ids], "labels": [labels]}
    batched.update(coarser=coarser, known=[known])
    batch_size = _batch_size(batch_size, batched)
    if known is not None:
        _check_shape("known", known.shape[1:], level.shape)
        _check_shape("known_mask", known_mask.shape[-2:], level.size)
        known_mask = ops.broadcast_to(known_mask, (batch_size, *level.size))
        if level.num_codes:  # Codes that are not kept may be unknown.
            _check_codes("known", level, ops.where(known_mask, known, 0))
    if sample_ids is None:
        sample_ids = ops.arange(batch_size, dtype="int32")
    noise = Noise(seed, sample_ids, len(coarser))
    options = _checked(prior, options)

    def draw():
        return prior.draw(noise, labels, coarser, known, known_mask, **options)

    if known is None:
        return draw()
    # A compiled sampler that completes maps does not compute whole ones again.
    return ops.cond(ops.all(known_mask), lambda: known, draw)


def sample_levels(
    priors,
    labels=None,
    options=None,
    batch_size=None,
    seed=0,
    sample_ids=None,
    known=None,
    known_mask=None,
):
    """Samples all levels, each given the coarser ones (algorithm 2).

    For many bottoms of one top, give the top's codes, repeated, as the first
    of `known`.

    Example:
        draw = tf.function(functools.partial(sample_levels, priors),
                           jit_compile=True)
        top, bottom = draw(labels, [{"temperature": 0.9}, {"top_p": 0.95}])

    Args:
        priors: One prior a level, coarsest first.
        labels: As in `sample`, for every prior that has classes.
        options: One dict of `sample`'s options a level; None for the defaults.
        batch_size: As in `sample`.
        seed: As in `sample`.
        sample_ids: As in `sample`.
        known: One `known` of `sample` a level; None for none.
        known_mask: One `known_mask` of `sample` a level; where it is None,
            known codes are the level's, whole.

    Returns:
        List of codes `[B, h, w]` int32, coarsest first.

    Raises:
        ValueError: As in `sample`; if a list has not one entry a level.
    """
    lists = {"options": options, "known": known, "known_mask": known_mask}
    for name, values in lists.items():
        if values is None:
            lists[name] = [None] * len(priors)
        elif len(values) != len(priors):
            raise ValueError(
                f"`{name}` must have one entry for each of the {len(priors)} "
                f"levels. Received: {len(values)}"
            )
    # Determined here, as a prior without classes gets no labels.
    batched = {"sample_ids": [sample_ids], "labels": [labels]}
    batch_size = _batch_size(batch_size, {**batched, "known": lists["known"]})
    common = {"batch_size": batch_size, "seed": seed, "sample_ids": sample_ids}
    codes = []
    for prior, own, maps, mask in zip(priors, *lists.values(), strict=True):
        if maps is not None and mask is None:
            _check_codes("known", prior.level, maps)
            codes.append(ops.convert_to_tensor(maps, dtype=prior.level.dtype))
            continue
        given = {**common, "known": maps, "known_mask": mask}
        if prior.num_classes:
            given["labels"] = labels
        given["coarser"] = list(codes)
        codes.append(sample(prior, **given, **(own or {})))
    return codes


def _checked(prior, options):
    """All options of a prior, by name, with the defaults of those not given."""
    table = {flag.name: flag for flag in prior.sampling_flags}
    values = {name: f.to_numbers(f.default) for name, f in table.items()}
    for name, value in options.items():
        if name not in table:
            raise ValueError(
                f"Sampling options must be of {sorted(table)}. Received: {name}"
            )
        value = table[name].to_numbers(value)
        flag = table[name].numbered()
        if isinstance(value, numbers.Real):
            flag.check(value)
            values[name] = flag.kind(value)
        else:
            flag.check_all(value)
            values[name] = ops.cast(value, flag.dtype)
    return values


def _check_labels(prior, labels):
    if prior.num_classes and labels is not None:
        most = prior.num_classes - 1
        Flag("labels", 0, "Classes.", 0, most).check_all(labels)


def _check_codes(name, level, codes):
    if level.num_codes:
        level.codes(name, 0).check_all(codes)


def _check_shape(name, shape, expected):
    if tuple(shape) != tuple(expected):
        raise ValueError(
            f"`{name}` must have the map's shape {tuple(expected)}. Received: "
            f"shape {tuple(shape)}"
        )


def _batch_size(batch_size, batched):
    """The batch size, from whichever arguments determine it.

    A tensor if it is only known at run time. `batched` has lists of tensors or
    None by the argument's name.
    """
    batched = {
        name: [ops.convert_to_tensor(x) for x in values if x is not None]
        for name, values in batched.items()
    }
    found = [("batch_size", batch_size)]
    found += [(n, x.shape[0]) for n, values in batched.items() for x in values]
    for name, size in found:
        if isinstance(size, int) and size < 1:
            raise ValueError(empty_batch(name))
    batched = [x for values in batched.values() for x in values]
    sizes = {size for _, size in found if isinstance(size, int)}
    if len(sizes) > 1:
        raise ValueError(
            "`batch_size`, `sample_ids`, `labels` and codes must be of equally "
            f"many samples. Received: {sorted(sizes)}"
        )
    if sizes:
        return sizes.pop()
    if batched:
        return ops.shape(batched[0])[0]
    if batch_size is None:
        raise ValueError(
            "`batch_size` must be given without sample ids, labels or codes."
        )
    return batch_size

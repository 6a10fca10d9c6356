"""Sampling of code maps, and of pictures at the paper's size."""

import keras

from benchmarks.timing import compiled
from benchmarks.timing import median_seconds
from benchmarks.timing import timed
from benchmarks.timing import wait
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.sampling import sample
from vqvae2_tf.sampling import sample_levels


def sampling(arguments, batch_size, repeats):
    """Times the sampling of one prior's code maps.

    Returns:
        dict of `sample_s` (seconds of a batch, incremental, median),
        `seconds_per_image`, `seconds_per_position`, `forward_s` (one pass over
        the whole map), `naive_s` (one a position), `times_naive` (the ratio)
        and `compile_s` (what the first call takes longer).
    """
    prior = PixelSNAIL(num_codes=512, num_heads=8, kernel_size=5, **arguments)
    height, width = prior.map_size
    prior.build((None, height, width))
    draw = _compiled_sampler(
        lambda images: sample(prior, images=images), [prior], batch_size
    )
    forward = compiled(lambda codes: prior(codes), [prior])
    first_s, codes = timed(draw)
    wait(forward(codes))
    sample_s = median_seconds(draw, repeats)
    forward_s = median_seconds(lambda: forward(codes), repeats)
    return {
        **{name: arguments[name] for name in ("map_size", "hidden_units")},
        "layers": arguments["num_layers"],
        "batch_size": batch_size,
        "sample_s": sample_s,
        "seconds_per_image": sample_s / batch_size,
        "seconds_per_position": sample_s / (height * width),
        "forward_s": forward_s,
        "naive_s": forward_s * height * width,
        "times_naive": forward_s * height * width / sample_s,
        "compile_s": first_s - sample_s,
    }


def paper_sampling(prior_arguments, stage1, batch_size, repeats):
    """Times whole pictures: all priors, coarsest first, then the decoder.

    Returns:
        dict of `sample_s` (seconds of a batch, median), `decode_s`,
        `seconds_per_image` (of both) and `compile_s` (what the first call of
        the samplers takes longer).
    """
    priors = []
    for arguments in prior_arguments:
        prior = PixelSNAIL(
            num_codes=512, num_heads=8, kernel_size=5, **arguments
        )
        prior.build((None, *prior.map_size))
        priors.append(prior)
    model = VQVAE2(stage1["strides"], seed=0)
    model.build((None, stage1["image_size"], stage1["image_size"], 3))
    draw = _compiled_sampler(
        lambda images: sample_levels(
            priors, labels=keras.ops.zeros_like(images), images=images
        ),
        priors,
        batch_size,
    )
    decode = compiled(model.decode, [model])
    first_s, codes = timed(draw)
    wait(decode(codes))
    sample_s = median_seconds(draw, repeats)
    decode_s = median_seconds(lambda: decode(codes), repeats)
    return {
        "batch_size": batch_size,
        "sample_s": sample_s,
        "decode_s": decode_s,
        "seconds_per_image": (sample_s + decode_s) / batch_size,
        "compile_s": first_s - sample_s,
    }


def _compiled_sampler(draw, priors, batch_size):
    """`draw(images)` of a batch, compiled as users get it."""
    if keras.backend.backend() == "tensorflow":
        from vqvae2_tf.export.compiled_sampler import compile_sampler

        draw_batch = compile_sampler(draw)
    else:
        draw_batch = compiled(draw, priors)
    images = keras.ops.arange(batch_size, dtype="int32")
    return lambda: draw_batch(images)

"""SavedModels that load without Keras and without this package."""

import json
from collections.abc import Sequence

import tensorflow as tf
from keras import ops

from vqvae2_tf.autoencoders.base import Autoencoder
from vqvae2_tf.files.atomic import replacing
from vqvae2_tf.priors.base import Prior
from vqvae2_tf.sampling import sample_levels


def export_autoencoder(
    model: Autoencoder, image_size: tuple[int, int], path: str
) -> None:
    """Writes a SavedModel: `encode`, `decode`, `reconstruct`, ...

    `encode` and `reconstruct` take `images` `[B, H, W, C]` float32 in [-1, 1];
    `encode` gives the code maps as `{"<level>": [B, h, w] int32}`, and
    `decode` takes them in that order, coarsest first; a level of -1 is left
    out (see `Autoencoder.decode`). `decode` and `reconstruct` give `[B, H, W,
    C]` float32 in [-1, 1]. B is free. `codebooks` takes nothing and gives
    `{"<level>": [K, D] float32}`, and `levels` a JSON list of each `Level`'s
    arguments.

    Args:
        model: `Autoencoder`, built.
        image_size: `(height, width)`.
        path: Path of the SavedModel's folder.
    """
    levels = model.levels(image_size)
    decode = _decode_function(model, levels)

    def encode(images):
        return _by_name(levels, model.encode(images))

    def reconstruct(images):
        return decode(*model.encode(images))

    shape = (None, *image_size, model.channels)
    images = tf.TensorSpec(shape, tf.float32, "images")
    functions = {
        "encode": tf.function(encode, [images]),
        "decode": decode,
        "reconstruct": tf.function(reconstruct, [images]),
    }
    if model.codebooks():
        functions["codebooks"] = tf.function(model.codebooks, [])
    _write(path, [model], levels, functions)


def export_generator(
    autoencoder: Autoencoder,
    priors: Sequence[Prior],
    path: str,
    class_names: Sequence[str] = (),
) -> None:
    """Writes a SavedModel with `sample(labels, seed, options)`.

    `labels` is `[B]` int32 (its values are ignored by priors without
    classes), `seed` an int32 scalar that fixes the result, and `options` a
    dict of every sampling option: one number for all levels or one a level,
    coarsest first. Gives images, `[B, H, W, C]` float32 in [-1, 1]. B is free.
    Labels and options out of range raise TensorFlow's InvalidArgumentError.

    For samples drawn in parts, `sample_codes(labels, seed, sample_ids,
    options)` gives `{"<level>": [B, h, w] int32}`: `sample_ids`, `[B]` int32,
    are numbers that with the seed fix each sample, 0 to B-1 in `sample`. Both
    draw in XLA, which compiles at the first call for a B. `decode` is the
    autoencoder's. `options` takes nothing and gives a JSON list of each
    option's `name`, `minimum`, `maximum`, `help`, and `default`, one a level;
    `levels` as above; `class_names` gives `[classes]` strings, none without
    classes.

    Args:
        autoencoder: `Autoencoder`, built.
        priors: One `Prior` a level, coarsest first, built.
        path: Path of the SavedModel's folder.
        class_names: One a class, if the priors have classes.
    """
    levels = [prior.level for prior in priors]
    num_classes = max(prior.num_classes for prior in priors)
    decode = _decode_function(autoencoder, levels)
    table = {flag.name: flag for p in priors for flag in p.SAMPLING_FLAGS}
    labels_spec = tf.TensorSpec((None,), tf.int32, "labels")
    seed_spec = tf.TensorSpec((), tf.int32, "seed")
    ids_spec = tf.TensorSpec((None,), tf.int32, "sample_ids")
    specs = {
        name: tf.TensorSpec(None, flag.dtype, name)
        for name, flag in table.items()
    }

    # Apart from the checks, which XLA would leave out.
    @tf.function(jit_compile=True)
    def draw(labels, seed, sample_ids, options):
        spread = {
            name: tf.unstack(tf.broadcast_to(value, (len(priors),)))
            for name, value in options.items()
        }
        own = [
            {flag.name: spread[flag.name][i] for flag in prior.SAMPLING_FLAGS}
            for i, prior in enumerate(priors)
        ]
        return sample_levels(
            priors, labels, own, seed=seed, sample_ids=sample_ids
        )

    def check(name, value, low, high):
        lowest = value.dtype.min if low is None else low
        highest = value.dtype.max if high is None else high
        allowed = tf.reduce_all((value >= lowest) & (value <= highest))
        message = f"{name} must be in [{low}, {high}]"
        return tf.debugging.Assert(allowed, [message, value])

    # A function that `sample` calls, so that the sampler is traced once.
    @tf.function(input_signature=[labels_spec, seed_spec, ids_spec, specs])
    def sample_codes(labels, seed, sample_ids, options):
        checks = [
            check(name, options[name], flag.minimum, flag.maximum)
            for name, flag in table.items()
        ]
        if num_classes:
            checks.append(check("labels", labels, 0, num_classes - 1))
        # Before the embedding, whose own error names no argument.
        with tf.control_dependencies(checks):
            labels = tf.identity(labels)
        return _by_name(levels, draw(labels, seed, sample_ids, options))

    def sample(labels, seed, options):
        sample_ids = tf.range(tf.shape(labels)[0])
        codes = sample_codes(labels, seed, sample_ids, options)
        return decode(*(codes[level.name] for level in levels))

    fields = ("name", "minimum", "maximum", "help")
    options = [{f: getattr(flag, f) for f in fields} for flag in table.values()]
    own = [{f.name: f.default for f in p.SAMPLING_FLAGS} for p in priors]
    for option, flag in zip(options, table.values(), strict=True):
        # A level without the option ignores its value.
        option["default"] = [x.get(flag.name, flag.default) for x in own]
    functions = {
        "sample": tf.function(sample, [labels_spec, seed_spec, specs]),
        "sample_codes": sample_codes,
        "decode": decode,
        "options": _constant(json.dumps(options)),
        "class_names": _constant(list(class_names)),
    }
    _write(path, [autoencoder, *priors], levels, functions)


def _by_name(levels, maps):
    return dict(zip((level.name for level in levels), maps, strict=True))


def _constant(value):
    return tf.function(lambda: tf.constant(value, tf.string), [])


def _decode_function(model, levels):
    def decode(*codes):
        return ops.clip(model.decode(list(codes)), -1.0, 1.0)

    specs = [
        tf.TensorSpec((None, *level.shape), level.dtype, level.name)
        for level in levels
    ]
    return tf.function(decode, specs)


def _write(path, models, levels, functions):
    # Plain variables and functions: the SavedModel holds nothing of Keras.
    module = tf.Module()
    module.weights = [v.value for model in models for v in model.variables]
    described = json.dumps([level.to_json() for level in levels])
    functions = {**functions, "levels": _constant(described)}
    for name, function in functions.items():
        setattr(module, name, function)
    with replacing(path) as temporary:
        tf.saved_model.save(module, temporary, signatures=functions)

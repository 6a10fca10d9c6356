"""SavedModels that load without Keras and without this package."""

import json
from collections.abc import Mapping
from collections.abc import Sequence

import tensorflow as tf
from keras import ops

from vqvae2_tf.autoencoders.base import IMAGES
from vqvae2_tf.autoencoders.base import Autoencoder
from vqvae2_tf.export.in_tensorflow import in_tensorflow
from vqvae2_tf.export.load import load_decoder
from vqvae2_tf.files.atomic import replacing
from vqvae2_tf.flags import Flag
from vqvae2_tf.flags import empty_batch
from vqvae2_tf.priors.base import Prior
from vqvae2_tf.sampling import sample_levels


@in_tensorflow
def export_autoencoder(
    model: Autoencoder, image_size: tuple[int, int], path: str
) -> None:
    """Writes a SavedModel: `encode`, `decode`, `reconstruct`, ...

    `encode` and `reconstruct` take `images` `[B, H, W, C]` float32 in [-1, 1];
    `encode` gives the code maps as `{"<level>": [B, h, w] int32}`, and
    `decode` takes them in that order, coarsest first; a level of -1 is left
    out (see `Autoencoder.decode`). `decode` and `reconstruct` give `[B, H, W,
    C]` float32 in [-1, 1]. B is free, but not 0. `codebooks` takes nothing and
    gives `{"<level>": [K, D] float32}`, and `levels` a JSON list of each
    `Level`'s arguments. What is out of range raises InvalidArgumentError, with
    the sentence of `Autoencoder.encode` and `decode`.

    The signatures are `serving_default`, which is `reconstruct`, `encode` and
    `decode`; images are named `images`, codes as their levels.

    Args:
        model: `Autoencoder`, built.
        image_size: `(height, width)`.
        path: Path of the SavedModel's folder.
    """
    levels = model.levels(image_size)
    decode = _decode_function(model, levels)

    def encode(images):
        images = _checked(IMAGES, images)
        return _by_name(levels, model.encode(images))

    def reconstruct(images):
        images = _checked(IMAGES, images)
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
    signatures = {
        "serving_default": _giving_images(functions["reconstruct"]),
        "encode": functions["encode"],
        "decode": _giving_images(decode),
    }
    _write(path, [model], levels, functions, signatures)


@in_tensorflow
def export_generator(
    autoencoder: Autoencoder,
    priors: Sequence[Prior],
    path: str,
    class_names: Sequence[str] = (),
    defaults: Mapping[str, Sequence] | None = None,
) -> None:
    """Writes a SavedModel with `sample(labels, seed, options)`.

    `labels` is `[B]` int32 (its values are ignored by priors without
    classes), `seed` an int32 scalar that fixes the result, and `options` a
    dict of every sampling option: one number for all levels or one a level,
    coarsest first. Gives images, `[B, H, W, C]` float32 in [-1, 1]. B is free,
    but not 0. An option with choices takes their numbers, from 0 on. Labels,
    options and codes out of range raise TensorFlow's InvalidArgumentError, with
    the sentence of `sample_levels`.

    For samples drawn in parts, `sample_codes(labels, seed, sample_ids,
    options)` gives `{"<level>": [B, h, w] int32}`: `sample_ids`, `[B]` int32,
    are numbers that with the seed fix each sample, 0 to B-1 in `sample`. Both
    draw in XLA, which compiles at the first call for a B.
    `complete_codes(labels, seed, sample_ids, options, known)` keeps the codes
    of `known`, `{"<level>": [B, h, w] int32}`, which are -1 where they are to
    be drawn: partial maps, or whole coarse ones. `decode` is the
    autoencoder's. `default_options` takes nothing and gives a dict for
    `sample`, and `options` a JSON list of each option's `name`, `minimum`,
    `maximum`, `choices`, `help`, and `default`, one a level; `levels` as above;
    `class_names` gives `[classes]` strings, none without classes.

    The signatures are `serving_default`, which is `sample` with the options as
    further inputs by their names, and `decode`; both give `images`.

    Args:
        autoencoder: `Autoencoder`, built; its `saved_decoder` decodes if it
            has one.
        priors: One `Prior` a level, coarsest first, built.
        path: Path of the SavedModel's folder.
        class_names: One a class, if the priors have classes.
        defaults: Of sampling options by their names, one a level; the priors'
            own of those that are not given.
    """
    levels = [prior.level for prior in priors]
    num_classes = max(prior.num_classes for prior in priors)
    decoder = None
    if autoencoder.saved_decoder:
        decoder = load_decoder(autoencoder.saved_decoder, levels)
    decode = _decode_function(autoencoder, levels, decoder)
    table = {flag.name: flag for p in priors for flag in p.sampling_flags}
    labels_spec = tf.TensorSpec((None,), tf.int32, "labels")
    seed_spec = tf.TensorSpec((), tf.int32, "seed")
    ids_spec = tf.TensorSpec((None,), tf.int32, "sample_ids")
    known_specs = {spec.name: spec for spec in _code_specs(levels)}
    specs = {
        name: tf.TensorSpec(None, flag.numbered().dtype, name)
        for name, flag in table.items()
    }

    # Apart from the checks, which XLA would leave out.
    @tf.function(jit_compile=True)
    def draw(labels, seed, sample_ids, options, known):
        spread = {
            name: tf.unstack(tf.broadcast_to(value, (len(priors),)))
            for name, value in options.items()
        }
        own = [
            {flag.name: spread[flag.name][i] for flag in prior.sampling_flags}
            for i, prior in enumerate(priors)
        ]
        masks = [
            maps >= 0 if level.num_codes else ~tf.math.is_nan(maps[..., 0])
            for level, maps in zip(levels, known, strict=True)
        ]
        return sample_levels(
            priors,
            labels,
            own,
            seed=seed,
            sample_ids=sample_ids,
            known=known,
            known_mask=masks,
        )

    def checked_option(flag, value):
        values = tf.reshape(value, [-1])
        names = ", ".join(level.name for level in levels)
        one_each = tf.reduce_any(tf.equal(tf.size(values), [1, len(levels)]))
        message = (
            f"`{flag.name}`: expected one value, or one for each of {names}. "
            "Received:"
        )
        check = tf.debugging.Assert(one_each, [message, values])
        with tf.control_dependencies([check]):
            return _checked(flag, values)

    # A function that the others call, so that the sampler is traced once.
    @tf.function(
        input_signature=[labels_spec, seed_spec, ids_spec, specs, known_specs]
    )
    def complete_codes(labels, seed, sample_ids, options, known):
        # Without classes any label will do.
        bounds = (0, num_classes - 1) if num_classes else ()
        labels = _checked(Flag("labels", 0, "Classes.", *bounds), labels)
        options = {
            name: checked_option(flag.numbered(), options[name])
            for name, flag in table.items()
        }
        # After the labels: what is wrong with them shows in the maps as well.
        with tf.control_dependencies([labels]):
            known = [_checked_codes(x, known[x.name]) for x in levels]
        drawn = draw(labels, seed, sample_ids, options, known)
        return _by_name(levels, drawn)

    @tf.function(input_signature=[labels_spec, seed_spec, ids_spec, specs])
    def sample_codes(labels, seed, sample_ids, options):
        size = tf.shape(labels)[0]
        none = [
            tf.cast(tf.fill((size, *level.shape), level.unknown), level.dtype)
            for level in levels
        ]
        known = _by_name(levels, none)
        return complete_codes(labels, seed, sample_ids, options, known)

    def sample(labels, seed, options):
        sample_ids = tf.range(tf.shape(labels)[0])
        codes = sample_codes(labels, seed, sample_ids, options)
        return decode(*(codes[level.name] for level in levels))

    fields = ("name", "minimum", "maximum", "choices", "help")
    described = [
        {f: getattr(flag, f) for f in fields} for flag in table.values()
    ]
    own = [{f.name: f.default for f in p.sampling_flags} for p in priors]
    numbers = {}
    for option, flag in zip(described, table.values(), strict=True):
        # A level without the option ignores its value.
        option["default"] = (defaults or {}).get(
            flag.name, [x.get(flag.name, flag.default) for x in own]
        )
        numbers[flag.name] = flag.to_numbers(option["default"])

    def default_options():
        return {
            name: tf.constant(value, specs[name].dtype)
            for name, value in numbers.items()
        }

    sample = tf.function(sample, [labels_spec, seed_spec, specs])
    functions = {
        "sample": sample,
        "sample_codes": sample_codes,
        "complete_codes": complete_codes,
        "decode": decode,
        "default_options": tf.function(default_options, []),
        "options": _constant(json.dumps(described)),
        "class_names": _constant(list(class_names)),
    }
    signatures = {
        "serving_default": _giving_images(sample),
        "decode": _giving_images(decode),
    }
    if decoder:
        # A SavedModel holds the variables of what it holds.
        functions["decoder"] = decoder
    _write(path, [autoencoder, *priors], levels, functions, signatures)


def _by_name(levels, maps):
    return dict(zip((level.name for level in levels), maps, strict=True))


def _constant(value):
    return tf.function(lambda: tf.constant(value, tf.string), [])


def _decode_function(model, levels, saved_decoder=None):
    def decode(*codes):
        codes = list(map(_checked_codes, levels, codes))
        if saved_decoder:
            images = saved_decoder.decode(*codes)
        else:
            images = model.decode(codes)
        return ops.clip(images, -1.0, 1.0)

    return tf.function(decode, _code_specs(levels))


def _code_specs(levels):
    return [
        tf.TensorSpec((None, *level.shape), level.dtype, level.name)
        for level in levels
    ]


def _checked_codes(level, maps):
    return _checked(level.codes(), maps) if level.num_codes else maps


def _checked(flag, value):
    """A tensor, once its numbers are looked at as in `Flag.check_all`."""
    numbers = tf.reshape(value, [-1])
    low = value.dtype.min if flag.minimum is None else flag.minimum
    high = value.dtype.max if flag.maximum is None else flag.maximum
    # Also of NaN.
    wrong = numbers[~((numbers >= low) & (numbers <= high))]
    checks = [
        tf.debugging.Assert(tf.size(numbers) > 0, [empty_batch(flag.name)]),
        tf.debugging.Assert(tf.size(wrong) == 0, [flag.sentence(), wrong]),
    ]
    # Before what comes next, whose own error names no argument.
    with tf.control_dependencies(checks):
        return tf.identity(value)


def _giving_images(function):
    """A signature of a function, which is called in it and not traced again."""
    signature = function.input_signature
    return tf.function(lambda *args: {"images": function(*args)}, signature)


def _write(path, models, levels, functions, signatures):
    # Plain variables and functions: the SavedModel holds nothing of Keras.
    module = tf.Module()
    # Without seeds' states, which training alone draws from: the same weights
    # give the same fingerprint.
    module.weights = [v.value for model in models for v in model.weights]
    described = json.dumps([level.to_json() for level in levels])
    functions = {**functions, "levels": _constant(described)}
    for name, function in functions.items():
        setattr(module, name, function)
    with replacing(path) as temporary:
        tf.saved_model.save(module, temporary, signatures=signatures)

"""SavedModels that need neither Keras nor this package to be loaded.

They are written beside their final place and renamed, so that a folder that
exists is whole.
"""

import os
from collections.abc import Sequence

import tensorflow as tf
from keras import ops

from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.sampling import sample_levels


def export_autoencoder(
    model: VQVAE2, image_size: tuple[int, int], path: str
) -> None:
    """Writes a SavedModel: `encode`, `decode`, `reconstruct`, `codebooks`.

    `encode` and `reconstruct` take `images` `[B, H, W, C]` float32 in [-1, 1];
    `encode` gives the code maps as `{"<level>": [B, h, w] int32}`, and
    `decode` takes them in that order, coarsest first; a level of -1 is left
    out (see `VQVAE2.decode`). `decode` and `reconstruct` give `[B, H, W, C]`
    float32 in [-1, 1]. B is free. `codebooks` takes nothing and gives
    `{"<level>": [K, D] float32}`.

    Args:
        model: A `VQVAE2`, built.
        image_size: `(height, width)`.
        path: Of the SavedModel's folder.
    """
    images = tf.TensorSpec(
        (None, *image_size, model.channels), tf.float32, "images"
    )
    decode = _decode_function(model, model.map_sizes(image_size))

    def encode(images):
        return dict(zip(model.level_names, model.encode(images), strict=True))

    def reconstruct(images):
        return decode(*model.encode(images))

    def codebooks():
        return {
            name: quantizer.codebook
            for name, quantizer in zip(
                model.level_names, model.quantizers, strict=True
            )
        }

    _write(
        path,
        [model],
        {
            "encode": tf.function(encode, [images]),
            "decode": decode,
            "reconstruct": tf.function(reconstruct, [images]),
            "codebooks": tf.function(codebooks, []),
        },
    )


def export_generator(
    autoencoder: VQVAE2,
    priors: list[PixelSNAIL],
    path: str,
    class_names: Sequence[str] = (),
) -> None:
    """Writes a SavedModel with `sample(labels, temperature, seed)`.

    `labels` is `[B]` int32 (its values are ignored by priors without
    classes), `temperature` float32, positive: one for all levels or one a
    level, coarsest first; `seed` an int32 scalar that fixes the result.
    Gives pictures, `[B, H, W, C]` float32 in [-1, 1]. B is free. Labels and
    temperatures out of range raise TensorFlow's InvalidArgumentError.

    For samples drawn in parts or truncated, `sample_codes(labels,
    temperature, seed, images, top_k, top_p)` gives `{"<level>": [B, h, w]
    int32}`: `images`, `[B]` int32, are numbers that with the seed fix each
    image, 0 to B-1 in `sample`; `top_k` int32 and `top_p` float32 are, as the
    temperature, one or one a level, K and 1 for all codes. Both draw in XLA,
    which compiles at the first call for a B. `decode` is the autoencoder's.
    `class_names` takes nothing and gives `[classes]` strings, none without
    classes.

    Args:
        autoencoder: A `VQVAE2`, built.
        priors: One `PixelSNAIL` a level, coarsest first.
        path: Of the SavedModel's folder.
        class_names: One a class, if the priors have classes.
    """
    names = autoencoder.level_names
    num_classes = max(prior.num_classes for prior in priors)
    decode = _decode_function(autoencoder, [p.map_size for p in priors])

    signature = [
        tf.TensorSpec((None,), tf.int32, "labels"),
        tf.TensorSpec(None, tf.float32, "temperature"),
        tf.TensorSpec((), tf.int32, "seed"),
    ]

    def by_level(value):
        return tf.unstack(tf.broadcast_to(value, (len(priors),)))

    # Apart from the checks, which XLA would leave out.
    @tf.function(jit_compile=True)
    def draw(labels, temperature, seed, images, top_k, top_p):
        return sample_levels(
            priors,
            labels=labels,
            temperatures=by_level(temperature),
            seed=seed,
            images=images,
            top_ks=by_level(top_k),
            top_ps=by_level(top_p),
        )

    # A function that `sample` calls, so that the sampler is traced once.
    @tf.function(
        input_signature=[
            *signature,
            tf.TensorSpec((None,), tf.int32, "images"),
            tf.TensorSpec(None, tf.int32, "top_k"),
            tf.TensorSpec(None, tf.float32, "top_p"),
        ]
    )
    def sample_codes(labels, temperature, seed, images, top_k, top_p):
        checks = [
            tf.debugging.assert_positive(
                temperature, "temperature must be above 0"
            ),
            tf.debugging.assert_positive(top_k, "top_k must be above 0"),
            tf.debugging.assert_positive(top_p, "top_p must be above 0"),
        ]
        if num_classes:
            in_range = tf.logical_and(labels >= 0, labels < num_classes)
            checks.append(
                tf.debugging.Assert(
                    tf.reduce_all(in_range),
                    [f"labels must be in [0, {num_classes})", labels],
                )
            )
        # Before the embedding, which has words of its own.
        with tf.control_dependencies(checks):
            labels = tf.identity(labels)
        codes = draw(labels, temperature, seed, images, top_k, top_p)
        return dict(zip(names, codes, strict=True))

    def sample(labels, temperature, seed):
        images = tf.range(tf.shape(labels)[0])
        codes = sample_codes(
            labels, temperature, seed, images, tf.int32.max, 1.0
        )
        return decode(*(codes[name] for name in names))

    def give_class_names():
        return tf.constant(list(class_names), tf.string)

    _write(
        path,
        [autoencoder, *priors],
        {
            "sample": tf.function(sample, signature),
            "sample_codes": sample_codes,
            "decode": decode,
            "class_names": tf.function(give_class_names, []),
        },
    )


def _decode_function(model, map_sizes):
    def decode(*codes):
        return ops.clip(model.decode(list(codes)), -1.0, 1.0)

    return tf.function(
        decode,
        [
            tf.TensorSpec((None, *size), tf.int32, name)
            for name, size in zip(model.level_names, map_sizes, strict=True)
        ],
    )


def _write(path, models, functions):
    # Plain variables and functions: what is saved knows nothing of Keras.
    module = tf.Module()
    module.weights = [
        variable.value for model in models for variable in model.variables
    ]
    for name, function in functions.items():
        setattr(module, name, function)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".writing-{os.getpid()}-{name}")
    try:
        tf.saved_model.save(module, temporary, signatures=functions)
        if tf.io.gfile.exists(path):
            tf.io.gfile.rmtree(path)
        tf.io.gfile.rename(temporary, path)
    finally:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.rmtree(temporary)

"""SavedModels that need neither Keras nor this package to be loaded.

They are written beside their final place and renamed, so that a folder that
exists is whole.
"""

import os

import tensorflow as tf
from keras import ops

from vqvae2_tf.models import VQVAE2
from vqvae2_tf.models import PixelSNAIL
from vqvae2_tf.sampling import sample_levels


def export_autoencoder(
    model: VQVAE2, image_size: tuple[int, int], path: str
) -> None:
    """Writes a SavedModel with `encode`, `decode` and `reconstruct`.

    `encode` and `reconstruct` take `images` `[B, H, W, C]` float32 in [-1, 1];
    `encode` gives the code maps as `{"<level>": [B, h, w] int32}`, and
    `decode` takes them in that order, coarsest first. `decode` and
    `reconstruct` give `[B, H, W, C]` float32 in [-1, 1]. B is free.

    Args:
        model: A `VQVAE2`, built.
        image_size: `(height, width)`.
        path: Of the SavedModel's folder.
    """
    images = tf.TensorSpec(
        (None, *image_size, model.channels), tf.float32, "images"
    )
    codes = [
        tf.TensorSpec((None, *size), tf.int32, name)
        for name, size in zip(
            model.level_names, model.map_sizes(image_size), strict=True
        )
    ]

    def encode(images):
        return dict(zip(model.level_names, model.encode(images), strict=True))

    def decode(*codes):
        return ops.clip(model.decode(list(codes)), -1.0, 1.0)

    def reconstruct(images):
        return decode(*model.encode(images))

    _write(
        path,
        [model],
        {
            "encode": tf.function(encode, [images]),
            "decode": tf.function(decode, codes),
            "reconstruct": tf.function(reconstruct, [images]),
        },
    )


def export_generator(
    autoencoder: VQVAE2, priors: list[PixelSNAIL], path: str
) -> None:
    """Writes a SavedModel with `sample(labels, temperature, seed)`.

    `labels` is `[B]` int32 (its values are ignored by priors without
    classes), `temperature` float32, positive: one for all levels or one a
    level, coarsest first; `seed` an int32 scalar that fixes the result.
    Gives pictures, `[B, H, W, C]` float32 in [-1, 1]. B is free.

    Args:
        autoencoder: A `VQVAE2`, built.
        priors: One `PixelSNAIL` a level, coarsest first.
        path: Of the SavedModel's folder.
    """
    num_levels = len(priors)

    def sample(labels, temperature, seed):
        temperatures = tf.broadcast_to(temperature, (num_levels,))
        codes = sample_levels(
            priors,
            labels=labels,
            batch_size=tf.shape(labels)[0],
            temperatures=tf.unstack(temperatures),
            seed=seed,
        )
        return ops.clip(autoencoder.decode(codes), -1.0, 1.0)

    signature = [
        tf.TensorSpec((None,), tf.int32, "labels"),
        tf.TensorSpec(None, tf.float32, "temperature"),
        tf.TensorSpec((), tf.int32, "seed"),
    ]
    _write(
        path,
        [autoencoder, *priors],
        {"sample": tf.function(sample, signature)},
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

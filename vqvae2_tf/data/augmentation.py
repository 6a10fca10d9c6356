"""Augmentation as a function of (seed, example), at any parallelism."""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from functools import partial

import tensorflow as tf

from vqvae2_tf.data.augmentation_names import SHIFT

# How much larger than its crop an image is in training, along both axes, as
# most of the field has it (256 to 224 pixels). The paper says only "random
# cropping"; a crop of an image that just covers the size would move along its
# longer side alone.
CROP_ROOM = 1.125


def _shift(image, seed):
    padding = [[SHIFT, SHIFT], [SHIFT, SHIFT], [0, 0]]
    padded = tf.pad(image, padding, mode="REFLECT")
    return tf.image.stateless_random_crop(padded, tf.shape(image), seed)


def _noise(image, seed):
    noise = tf.random.stateless_normal(tf.shape(image), seed, stddev=0.02)
    coin = tf.random.stateless_uniform((), seed + [0, 1 << 20])
    return image + tf.where(coin < 0.5, noise, tf.zeros_like(noise))


# In the order in which they are applied, which is that of
# `augmentation_names.NAMES`.
OPERATIONS = {
    "flip": tf.image.stateless_random_flip_left_right,
    "shift": _shift,
    "brightness": partial(tf.image.stateless_random_brightness, max_delta=0.08),
    "hue": partial(tf.image.stateless_random_hue, max_delta=0.02),
    "saturation": partial(
        tf.image.stateless_random_saturation, lower=0.9, upper=1.1
    ),
    "contrast": partial(
        tf.image.stateless_random_contrast, lower=0.9, upper=1.1
    ),
    "noise": _noise,
}


def operations_of(augmenter: str) -> Mapping[str, Callable]:
    """The random operations by name, in the order they are applied.

    Args:
        augmenter: One of `augmentation_names.AUGMENTERS`. `keras_cv` needs that
            package, and must be requested outside of graphs.

    Returns:
        dict of functions of `image` and `seed`.
    """
    if augmenter == "tf_image":
        return OPERATIONS
    from vqvae2_tf.data import augmentation_keras_cv

    return {**OPERATIONS, **augmentation_keras_cv.OPERATIONS}


def augment(
    image: tf.Tensor,
    size: tuple[int, int],
    names: Collection[str],
    seed: tf.Tensor | None,
    operations: Mapping[str, Callable] = OPERATIONS,
) -> tf.Tensor:
    """Crops an image to size and applies random operations to it.

    The operations and their ranges are those of VQ-VAE-2, supplement A.1, on
    the [0, 1] pixel scale; `shift` (up to 4 pixels in each direction) is this
    project's, for small data. The result is clipped to [0, 1].

    Args:
        image: `[h, w, C]` float32 in [0, 1], h and w not below `size`.
        size: `(height, width)` of the result.
        names: Some of `augmentation_names.NAMES`. Without `crop` the image is
            cropped at its centre.
        seed: `[2]` int32 or int64; the result is a function of it. None if
            there are no names.
        operations: What `operations_of` returned.

    Returns:
        `[*size, C]` float32 in [0, 1].
    """
    shape = (*size, image.shape[-1])
    if "crop" in names:
        image = tf.image.stateless_random_crop(image, shape, seed)
    else:
        image = center_crop(image, size)
    for number, (name, operation) in enumerate(operations.items(), 1):
        if name in names:
            own_seed = seed + tf.constant([number * 7919, 0], seed.dtype)
            image = operation(image, seed=own_seed)
    return tf.ensure_shape(tf.clip_by_value(image, 0.0, 1.0), shape)


def center_crop(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Crops `[h, w, C]` to `[*size, C]` at its centre."""
    top = (tf.shape(image)[0] - size[0]) // 2
    left = (tf.shape(image)[1] - size[1]) // 2
    return image[top : top + size[0], left : left + size[1]]

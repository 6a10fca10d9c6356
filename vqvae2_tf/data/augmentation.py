"""Augmentation as a function of (seed, example), at any parallelism."""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping

import tensorflow as tf

SHIFT = 4


def _crop(image, size, seed):
    return tf.image.stateless_random_crop(image, (*size, image.shape[-1]), seed)


def _flip(image, seed):
    return tf.image.stateless_random_flip_left_right(image, seed)


def _shift(image, seed):
    padding = [[SHIFT, SHIFT], [SHIFT, SHIFT], [0, 0]]
    padded = tf.pad(image, padding, mode="REFLECT")
    return tf.image.stateless_random_crop(padded, tf.shape(image), seed)


def _brightness(image, seed):
    return tf.image.stateless_random_brightness(image, 0.08, seed)


def _hue(image, seed):
    return tf.image.stateless_random_hue(image, 0.02, seed)


def _saturation(image, seed):
    return tf.image.stateless_random_saturation(image, 0.9, 1.1, seed)


def _contrast(image, seed):
    return tf.image.stateless_random_contrast(image, 0.9, 1.1, seed)


def _noise(image, seed):
    noise = tf.random.stateless_normal(tf.shape(image), seed, stddev=0.02)
    coin = tf.random.stateless_uniform((), seed + [0, 1 << 20])
    return image + tf.where(coin < 0.5, noise, tf.zeros_like(noise))


# In the order in which they are applied.
OPERATIONS = {
    "flip": _flip,
    "shift": _shift,
    "brightness": _brightness,
    "hue": _hue,
    "saturation": _saturation,
    "contrast": _contrast,
    "noise": _noise,
}
NEEDS_COLOUR = ("hue", "saturation")
NAMES = ("crop", *OPERATIONS)
AUGMENTERS = ("tf_image", "keras_cv")


def operations_of(augmenter: str) -> Mapping[str, Callable]:
    """The random operations by name, in the order they are applied.

    Args:
        augmenter: One of `AUGMENTERS`. `keras_cv` needs that package, and must
            be requested outside of graphs.

    Returns:
        dict of functions of `(image, seed)`.
    """
    if augmenter == "tf_image":
        return OPERATIONS
    from vqvae2_tf.data import augmentation_keras_cv

    return {**OPERATIONS, **augmentation_keras_cv.OPERATIONS}


def augment(
    image: tf.Tensor,
    size: tuple[int, int],
    names: Collection[str],
    seed: tf.Tensor,
    operations: Mapping[str, Callable] = OPERATIONS,
) -> tf.Tensor:
    """Crops an image to size and applies random operations to it.

    The operations and their ranges are those of VQ-VAE-2, supplement A.1, on
    the [0, 1] pixel scale; `shift` (up to 4 pixels in each direction) is this
    project's, for small data. The result is clipped to [0, 1].

    Args:
        image: `[h, w, C]` float32 in [0, 1], h and w not below `size`.
        size: `(height, width)` of the result.
        names: Some of `NAMES`. Without `crop` the image is cropped at its
            centre.
        seed: `[2]` int32 or int64; the result is a function of it.
        operations: What `operations_of` returned.

    Returns:
        `[*size, C]` float32 in [0, 1].
    """
    channels = image.shape[-1]
    if "crop" in names:
        image = _crop(image, size, seed)
    else:
        image = center_crop(image, size)
    for number, (name, operation) in enumerate(operations.items()):
        if name in names:
            own_seed = seed + tf.constant([number + 1, 0], seed.dtype) * 7919
            image = operation(image, own_seed)
    image.set_shape((*size, channels))
    return tf.clip_by_value(image, 0.0, 1.0)


def center_crop(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Crops `[h, w, C]` to `[*size, C]` at its centre."""
    top = (tf.shape(image)[0] - size[0]) // 2
    left = (tf.shape(image)[1] - size[1]) // 2
    return image[top : top + size[0], left : left + size[1]]

"""The random operations of `augmentation.py` through keras-cv's layers.

keras-cv's layers draw from a stateful generator, so that a resumed run would
draw other values. Here each layer receives draws that are a function of the
seed, from the layer's own range: the result is as stateless as `tf.image`'s.

The layers' units differ from the definition's (brightness and hue as parts of
the scale, saturation and contrast as factors):

- `RandomHue` halves its factor and draws the sign separately.
- `RandomSaturation` scales by f / (1 - f) for a factor f; 0.5 is the identity.
- `RandomContrast` takes how far the factor may be below and above 1; one
  number is used for both, where Keras' layer uses it for one.
- Brightness, hue and contrast each clip to [0, 1].

Crop, shift and noise are those of `augmentation.py`: keras-cv's `RandomCrop`
resamples the image, and it has neither a shift by whole pixels nor noise.
"""

import tensorflow as tf
from keras_cv import layers

_VALUES = {"value_range": (0.0, 1.0), "dtype": "float32"}
_FLIP = layers.RandomFlip(dtype="float32")
_BRIGHTNESS = layers.RandomBrightness(0.08, **_VALUES)
_HUE = layers.RandomHue(2 * 0.02, **_VALUES)
_SATURATION = layers.RandomSaturation((0.9 / 1.9, 1.1 / 2.1), dtype="float32")
_CONTRAST = layers.RandomContrast(factor=(0.1, 0.1), **_VALUES)


def _apply(layer, image, draws):
    return layer.augment_images(image[tf.newaxis], transformations=draws)[0]


def _draw(layer, shape, seed):
    """A draw from the layer's own range."""
    bounds = layer.factor.lower, layer.factor.upper
    return tf.random.stateless_uniform(shape, seed, *bounds)


def _with_one_draw(layer, *shape):
    """The operation that applies a layer with one draw from its range."""
    return lambda image, seed: _apply(layer, image, _draw(layer, shape, seed))


def _flip(image, seed):
    draw = tf.random.stateless_uniform((1, 1), seed)
    draws = {"flip_horizontals": draw, "flip_verticals": tf.zeros((1, 1))}
    return _apply(_FLIP, image, draws)


def _hue(image, seed):
    coin = tf.random.stateless_uniform((1,), seed + [0, 1 << 20])
    sign = tf.where(coin < 0.5, -1.0, 1.0)
    return _apply(_HUE, image, sign * _draw(_HUE, (1,), seed) * 0.5)


OPERATIONS = {
    "flip": _flip,
    # The layer scales its factor by the range of values, which is 1 here.
    "brightness": _with_one_draw(_BRIGHTNESS, 1, 1, 1, 1),
    "hue": _hue,
    "saturation": _with_one_draw(_SATURATION, 1),
    "contrast": _with_one_draw(_CONTRAST, 1, 1, 1, 1),
}

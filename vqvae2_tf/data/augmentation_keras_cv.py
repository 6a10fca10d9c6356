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

import keras_cv
import tensorflow as tf

_VALUES = {"value_range": (0.0, 1.0), "dtype": "float32"}
_FLIP = keras_cv.layers.RandomFlip(dtype="float32")
_BRIGHTNESS = keras_cv.layers.RandomBrightness(0.08, **_VALUES)
_HUE = keras_cv.layers.RandomHue(2 * 0.02, **_VALUES)
_SATURATION = keras_cv.layers.RandomSaturation(
    (0.9 / 1.9, 1.1 / 2.1), dtype="float32"
)
_CONTRAST = keras_cv.layers.RandomContrast(factor=(0.1, 0.1), **_VALUES)


def _apply(layer, image, draws):
    return layer.augment_images(image[tf.newaxis], transformations=draws)[0]


def _draw(layer, shape, seed):
    """A draw from the layer's own range."""
    return tf.random.stateless_uniform(
        shape, seed, layer.factor.lower, layer.factor.upper
    )


def _flip(image, seed):
    draws = {
        "flip_horizontals": tf.random.stateless_uniform((1, 1), seed),
        "flip_verticals": tf.zeros((1, 1)),
    }
    return _apply(_FLIP, image, draws)


def _brightness(image, seed):
    # The layer scales its factor by the range of values, which is 1 here.
    return _apply(_BRIGHTNESS, image, _draw(_BRIGHTNESS, (1, 1, 1, 1), seed))


def _hue(image, seed):
    coin = tf.random.stateless_uniform((1,), seed + [0, 1 << 20])
    sign = tf.where(coin < 0.5, -1.0, 1.0)
    return _apply(_HUE, image, sign * _draw(_HUE, (1,), seed) * 0.5)


def _saturation(image, seed):
    return _apply(_SATURATION, image, _draw(_SATURATION, (1,), seed))


def _contrast(image, seed):
    return _apply(_CONTRAST, image, _draw(_CONTRAST, (1, 1, 1, 1), seed))


OPERATIONS = {
    "flip": _flip,
    "brightness": _brightness,
    "hue": _hue,
    "saturation": _saturation,
    "contrast": _contrast,
}

"""What flags need to know of augmentation; needs no TensorFlow."""

NAMES = (
    "crop",
    "flip",
    "shift",
    "brightness",
    "hue",
    "saturation",
    "contrast",
    "noise",
)
NEEDS_COLOUR = ("hue", "saturation")
AUGMENTERS = ("tf_image", "keras_cv")
# Most pixels that `shift` moves an image by.
SHIFT = 4

"""ResNet-56 for small images (He et al. 2016, section 4.2), for `cas.py`.

Three stages of nine blocks of two 3x3 convolutions, of 16, 32 and 64 filters.
Shortcuts have no weights ("option A"): where a stage begins, every second
position is taken, and the new channels are zero.
"""

import keras
from keras import layers
from keras import ops

BLOCKS = 9
FILTERS = (16, 32, 64)


def make_classifier(
    image_size: tuple[int, int], num_classes: int
) -> keras.Model:
    """Makes the network with random first weights.

    Args:
        image_size: `(height, width)`; the paper's is 32, 32.
        num_classes: Number of classes.

    Returns:
        Model of images `[B, H, W, 3]` float32 in [-1, 1] to logits
        `[B, num_classes]` float32.
    """
    images = keras.Input((*image_size, 3))
    x = layers.ReLU()(_convolution(images, FILTERS[0]))
    for filters in FILTERS:
        for _ in range(BLOCKS):
            x = _block(x, filters)
    x = layers.GlobalAveragePooling2D()(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name="resnet56")


def _block(x, filters):
    added = filters - x.shape[-1]
    stride = 2 if added else 1
    y = layers.ReLU()(_convolution(x, filters, stride))
    y = _convolution(y, filters)
    if added:
        x = ops.pad(x[:, ::2, ::2], [[0, 0], [0, 0], [0, 0], [0, added]])
    return layers.ReLU()(layers.Add()([x, y]))


def _convolution(x, filters, stride=1):
    """A 3x3 convolution and its batch normalization."""
    x = layers.Conv2D(
        filters,
        3,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
    )(x)
    return layers.BatchNormalization()(x)

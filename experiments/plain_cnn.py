"""Five convolutions, for `cas.py` on a few thousand images and a CPU."""

import keras
from keras import layers

# Filters and stride of each convolution.
_CONVOLUTIONS = ((32, 2), (64, 2), (96, 1), (96, 2), (128, 2))


def make_classifier(
    image_size: tuple[int, int], num_classes: int
) -> keras.Model:
    """Makes the network with random first weights.

    Args:
        image_size: `(height, width)`.
        num_classes: Number of classes.

    Returns:
        Model of images `[B, H, W, 3]` float32 in [-1, 1] to logits
        `[B, num_classes]` float32.
    """
    x = images = keras.Input((*image_size, 3))
    for filters, stride in _CONVOLUTIONS:
        convolution = layers.Conv2D(
            filters, 3, stride, padding="same", use_bias=False
        )
        x = layers.ReLU()(layers.BatchNormalization()(convolution(x)))
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name="plain_cnn")

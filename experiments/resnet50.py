"""ResNet-50 (He et al. 2016) of Keras Applications, for `cas.py`."""

import keras


def make_classifier(
    image_size: tuple[int, int], num_classes: int
) -> keras.Model:
    """Makes the network with random first weights.

    Args:
        image_size: `(height, width)`, each at least 32.
        num_classes: Number of classes.

    Returns:
        Model of images `[B, H, W, 3]` float32 in [-1, 1] to logits
        `[B, num_classes]` float32.

    Raises:
        ValueError: If the images are too small.
    """
    trunk = keras.applications.ResNet50(
        include_top=False,
        weights=None,
        input_shape=(*image_size, 3),
        pooling="avg",
    )
    head = keras.layers.Dense(num_classes, dtype="float32", name="logits")
    return keras.Model(trunk.input, head(trunk.output), name="resnet50")

"""A classifier that `cas.py` takes by its module's full path."""

import keras


def make_classifier(image_size, num_classes):
    """One layer on the image's mean colour."""
    images = keras.Input((*image_size, 3))
    mean = keras.layers.GlobalAveragePooling2D()(images)
    return keras.Model(images, keras.layers.Dense(num_classes)(mean))

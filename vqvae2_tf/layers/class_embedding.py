"""The embedding of a class label, and of its absence."""

import keras
from keras import ops


class ClassEmbedding(keras.layers.Layer):
    """A vector a class; with `learns_none` one more, for no class.

    Args:
        num_classes: Number of classes.
        units: E, width of the vectors.
        learns_none: Whether the absence of a label has a vector of its own,
            as classifier-free guidance needs it; otherwise it is 0.

    Call arguments:
        labels: `[B]` int32 in [0, num_classes); -1 for no label.

    Returns:
        `[B, E]` float.
    """

    def __init__(self, num_classes, units, learns_none=False, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.learns_none = learns_none
        self.embedding = keras.layers.Embedding(
            num_classes + learns_none, units, dtype=self.dtype_policy
        )

    def build(self, labels_shape=None):
        self.embedding.build()

    def call(self, labels):
        if self.learns_none:
            # The last one is that of no class.
            return self.embedding(
                ops.where(labels < 0, self.num_classes, labels)
            )
        x = self.embedding(ops.maximum(labels, 0))
        return x * ops.cast(labels >= 0, x.dtype)[:, None]

"""The embedding of a class label, and of its absence."""

import keras
import numpy as np
from keras import ops


class ClassEmbedding(keras.layers.Embedding):
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
        super().__init__(num_classes + learns_none, units, **kwargs)
        self.num_classes = num_classes
        self.learns_none = learns_none

    def call(self, labels):
        if self.learns_none:
            # The last one is that of no class.
            return super().call(ops.where(labels < 0, self.num_classes, labels))
        x = super().call(ops.maximum(labels, 0))
        return x * ops.cast(labels >= 0, x.dtype)[:, None]

    def load_own_variables(self, store):
        vectors = np.asarray(store["0"])
        if self.learns_none and len(vectors) == self.num_classes:
            # Of a version in which no class had 0.
            vectors = np.pad(vectors, [[0, 1], [0, 0]])
        self.embeddings.assign(vectors)

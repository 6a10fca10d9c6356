"""The distribution of codes at one position."""

import keras
from keras import ops

from vqvae2_tf.flags import Flag
from vqvae2_tf.sampling import truncation


class CategoricalHead(keras.layers.Layer):
    """K logits a position: codes in, a categorical distribution out.

    Args:
        num_codes: K.
        units: Width of the embedding.

    Call arguments:
        features: `[B, ..., C]` float.

    Returns:
        Logits `[B, ..., K]` float32.
    """

    SAMPLING_FLAGS = (
        Flag("temperature", 1.0, "Divisor of the logits.", 1e-3, 100.0),
        Flag("top_k", 0, "Number of likeliest codes kept; 0 for all.", 0),
        Flag("top_p", 1.0, "Probability mass kept; 1 for all.", 1e-6, 1.0),
    )

    def __init__(self, num_codes, units, **kwargs):
        super().__init__(**kwargs)
        self.num_codes = num_codes
        self.embedding = keras.layers.Embedding(
            num_codes, units, dtype=self.dtype_policy
        )

    def build(self, features_shape):
        # In bfloat16 the likelihoods themselves would be rounded.
        self.logits = keras.layers.Dense(self.num_codes, dtype="float32")
        self.logits.build(features_shape)
        self.embedding.build()

    def call(self, features):
        return self.logits(features)

    def embed(self, codes):
        """Features `[B, ..., units]` of codes `[B, ...]`."""
        return self.embedding(codes)

    def nll(self, logits, codes):
        """Nats a position, `[B, ...]`, of codes `[B, ...]`."""
        return ops.sparse_categorical_crossentropy(
            codes, logits, from_logits=True
        )

    def random_numbers(self, noise, positions, step=0):
        """The numbers that `draw` takes, `[B, P, K]` at positions `[P]`."""
        return noise.gumbel(positions, self.num_codes, step)

    def draw(self, logits, numbers, temperature=1.0, top_k=0, top_p=1.0):
        """Codes `[B, ...]` int32 of logits and numbers, both `[B, ..., K]`.

        Gumbel-max: the argmax of logits / temperature plus noise.
        """
        logits = logits / temperature
        # Numbers that keep all codes cost nothing; tensors cost a condition.
        if not isinstance(top_k, int) or top_k:
            logits = truncation.keep_top_k(logits, top_k)
        if not isinstance(top_p, float | int) or top_p < 1:
            logits = truncation.keep_top_p(logits, top_p)
        return ops.cast(ops.argmax(logits + numbers, axis=-1), "int32")

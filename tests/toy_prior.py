"""A prior that the package does not know: it draws all positions at once."""

import keras
from keras import ops

from vqvae2_tf.flags import Flag
from vqvae2_tf.priors.base import LikelihoodPrior


class ToyPrior(LikelihoodPrior):
    """Independent codes, given the class and the mean of the coarser codes."""

    FLAGS = (Flag("toy_units", 4, "Width of the features.", minimum=1),)
    SAMPLING_FLAGS = (
        Flag(
            "sharpness",
            1.0,
            "Multiplies the logits.",
            minimum=0.0,
        ),
    )

    def __init__(self, level, coarser=(), num_classes=0, toy_units=4, **kwargs):
        super().__init__(level, coarser, num_classes, **kwargs)
        self.features = keras.layers.Embedding(
            max(num_classes, 1), toy_units, name="features"
        )
        self.coarse = keras.layers.Dense(toy_units, name="coarse")
        count = self.level.num_positions * self.level.num_codes
        self.logits = keras.layers.Dense(count, dtype="float32", name="logits")

    def call(self, codes, labels=None, coarser=(), training=False):
        self.check_conditions(labels, coarser)
        if labels is None:
            labels = ops.zeros((ops.shape(codes)[0],), "int32")
        x = self.features(labels)
        if coarser:
            means = [ops.mean(ops.cast(c, "float32"), (1, 2)) for c in coarser]
            x = x + self.coarse(ops.stack(means, axis=-1))
        shape = (-1, *self.level.size, self.level.num_codes)
        return ops.reshape(self.logits(x), shape)

    def nll(self, codes, labels=None, coarser=(), training=False):
        logits = self(codes, labels, coarser)
        nll = ops.sparse_categorical_crossentropy(
            codes, logits, from_logits=True
        )
        return ops.mean(nll, axis=(1, 2))

    def draw(
        self,
        noise,
        labels=None,
        coarser=(),
        known=None,
        known_mask=None,
        sharpness=1.0,
    ):
        shape = (noise.batch_size, *self.level.size)
        logits = self(ops.zeros(shape, "int32"), labels, coarser)
        positions = ops.arange(self.level.num_positions, dtype="int32")
        numbers = noise.gumbel(positions, self.level.num_codes)
        numbers = ops.reshape(numbers, (*shape, self.level.num_codes))
        codes = ops.argmax(logits * sharpness + numbers, axis=-1)
        codes = ops.cast(codes, "int32")
        return codes if known is None else ops.where(known_mask, known, codes)


Model = ToyPrior

"""Polyak averages of the trained weights."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf


class PolyakAverage(tf.Module):
    """Exponential moving averages of a model's trainable variables.

    After step s, counted from 0, the decay is `min(decay, (1 + s) / (10 + s))`
    so that the averages of a short run are not its first weights
    (`tf.train.ExponentialMovingAverage`'s warm-up).

    Args:
        variables: Keras variables, built; create the average in the scope of
            the strategy that made them.
        decay: In [0, 1); 0.9999 in the paper.
    """

    def __init__(self, variables, decay):
        super().__init__()
        self.decay = decay
        self._variables = list(variables)
        self.averages = [
            tf.Variable(
                tf.convert_to_tensor(variable),
                trainable=False,
                # Every replica assigns the same value.
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            for variable in self._variables
        ]

    def update(self, step: tf.Tensor) -> None:
        """Moves the averages towards the weights.

        Args:
            step: Number of steps taken before this one, scalar tensor.
        """
        step = tf.cast(step, tf.float32)
        decay = tf.minimum(self.decay, (1.0 + step) / (10.0 + step))
        for average, variable in zip(
            self.averages, self._variables, strict=True
        ):
            value = tf.cast(tf.convert_to_tensor(variable), average.dtype)
            average.assign(average - (1.0 - decay) * (average - value))

    def assign_to_model(self) -> None:
        """Overwrites the weights by their averages."""
        for average, variable in zip(
            self.averages, self._variables, strict=True
        ):
            variable.assign(average)

    @contextlib.contextmanager
    def in_model(self) -> Iterator[None]:
        """Puts the averages into the model for the length of a block."""
        weights = [tf.identity(variable.value) for variable in self._variables]
        self.assign_to_model()
        try:
            yield
        finally:
            for weight, variable in zip(weights, self._variables, strict=True):
                variable.assign(weight)

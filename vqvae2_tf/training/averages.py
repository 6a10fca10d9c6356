"""Moving averages of the trained weights (Polyak averaging)."""

import contextlib
from collections.abc import Iterator
from collections.abc import Sequence

import keras
from keras import ops


class Averages:
    """Exponential moving averages of variables.

    After step s, counted from 0, the decay is `min(decay, (1 + s) / (10 + s))`
    so that the averages of a short run are not its initial weights
    (`tf.train.ExponentialMovingAverage`'s warm-up).

    Args:
        averaged: Keras variables, built. Under a `tf.distribute` strategy,
            create the averages in the scope that these were created in.
        decay: In [0, 1); 0.9999 in the paper.

    Attributes:
        variables: The averages, Keras variables in the order of `averaged`.
    """

    def __init__(self, averaged: Sequence[keras.Variable], decay: float):
        self._averaged = list(averaged)
        self._decay = decay
        self.variables = [
            keras.Variable(
                # Without the copy, TensorFlow's variable would be shared.
                ops.copy(variable.value),
                dtype=variable.dtype,
                trainable=False,
                autocast=False,
                # Every replica assigns the same value.
                aggregation="only_first_replica",
                name=variable.name,
            )
            for variable in self._averaged
        ]

    def update(self, step) -> None:
        """Moves the averages towards the weights.

        Args:
            step: Number of steps taken before this one, scalar tensor.
        """
        step = ops.cast(step, "float32")
        decay = ops.minimum(self._decay, (1.0 + step) / (10.0 + step))
        for average, variable in self._pairs():
            difference = average.value - variable.value
            average.assign(average.value - (1.0 - decay) * difference)

    def assign_to_weights(self) -> None:
        """Overwrites the weights by their averages."""
        for average, variable in self._pairs():
            # JAX would share the array, and a step may not give it away twice.
            variable.assign(ops.copy(average.value))

    @contextlib.contextmanager
    def in_weights(self) -> Iterator[None]:
        """Puts the averages into the weights for the length of a block."""
        weights = [ops.copy(variable.value) for variable in self._averaged]
        self.assign_to_weights()
        try:
            yield
        finally:
            for weight, variable in zip(weights, self._averaged, strict=True):
                variable.assign(weight)

    def _pairs(self):
        return zip(self.variables, self._averaged, strict=True)

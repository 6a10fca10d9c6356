"""Examples in memory, for training without TensorFlow."""

import functools
import itertools
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np


class ArrayExamples:
    """Examples that are arrays; see `training.loop.Examples`.

    Example:
        images = np.random.uniform(-1, 1, (512, 64, 64, 3)).astype("float32")
        examples = ArrayExamples({"image": images})

    Args:
        arrays: Nest of arrays `[N, ...]`, such as `image`, or `label` and a
            tuple `codes`.

    Attributes:
        count: N.
    """

    def __init__(self, arrays: Mapping[str, Any]):
        self._arrays = dict(arrays)
        self.count = len(keras.tree.flatten(self._arrays)[0])

    def training_arrays(
        self,
        batch_size: int,
        seed: int,
        start_step: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> Iterator[dict[str, Any]]:
        """See `training.loop.Examples`."""

        @functools.lru_cache(2)
        def order(epoch):
            return np.random.default_rng((seed, epoch)).permutation(self.count)

        for step in itertools.count(start_step):
            positions = step * batch_size + _rows(batch_size, share)
            pairs = zip(*divmod(positions, self.count), strict=True)
            yield self._take([order(epoch)[i] for epoch, i in pairs])

    def evaluation_arrays(
        self, batch_size: int, share: tuple[int, int] = (0, 1)
    ) -> Iterator[dict[str, Any]]:
        """All examples in order; `weight` is 0 where the last batch repeats."""
        for start in range(0, self.count, batch_size):
            numbers = start + _rows(batch_size, share)
            weight = (numbers < self.count).astype("float32")
            yield {**self._take(numbers % self.count), "weight": weight}

    def _take(self, rows):
        return keras.tree.map_structure(lambda x: x[rows], self._arrays)


def _rows(batch_size, share):
    """Rows of a batch that belong to a share of it."""
    index, count = share
    size = batch_size // count
    return np.arange(index * size, (index + 1) * size)

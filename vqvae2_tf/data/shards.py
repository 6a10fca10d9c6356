"""A row of shards, of which parts are read."""

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Shards:
    """Raw examples in shards whose lengths are known.

    Args:
        open_part: Function of three int64 scalars, the number of a shard, the
            number of an example in it, and a count, to so many raw examples
            from that one on, always in the same order, as a `tf.data.Dataset`.
            It is traced.
        shard_lengths: Number of examples of each shard. What a shard holds
            beyond is left out.
    """

    open_part: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.data.Dataset]
    shard_lengths: Sequence[int]

    @property
    def count(self) -> int:
        """Number of examples."""
        return int(sum(self.shard_lengths))

    def row(
        self,
        start: tf.Tensor,
        stop: tf.Tensor,
        shards: tf.Tensor | None = None,
    ) -> tf.data.Dataset:
        """A part of the row of all raw examples; opens only its shards.

        One shard is open at a time, and examples are read as they are asked
        for.

        Args:
            start: int64 scalar, number of the first example.
            stop: int64 scalar, number of the last example plus 1.
            shards: `[S]` int64, the shards in the row's order; in that of their
                numbers if None.

        Returns:
            `tf.data.Dataset` of `stop - start` raw examples. Shards that are
            too short raise `tf.errors.FailedPreconditionError`.
        """
        lengths = tf.constant(self.shard_lengths, tf.int64)
        if shards is None:
            shards = tf.range(len(self.shard_lengths), dtype=tf.int64)
        lengths = tf.gather(lengths, shards)
        ends = tf.cumsum(lengths)
        begins = ends - lengths
        first = tf.maximum(start - begins, 0)
        counts = tf.minimum(stop - begins, lengths) - first
        parts = (shards, first, counts)
        inside = counts > 0
        parts = tuple(tf.boolean_mask(part, inside) for part in parts)

        def read(shard, first, count):
            part = self.open_part(shard, first, count)
            return part.apply(tf.data.experimental.assert_cardinality(count))

        return tf.data.Dataset.from_tensor_slices(parts).flat_map(read)

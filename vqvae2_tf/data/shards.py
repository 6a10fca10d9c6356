"""A row of shards, of which parts are read."""

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence

import tensorflow as tf

# Shards that are read side by side, for storage that answers slowly.
_SIDE_BY_SIDE = 4


@dataclasses.dataclass(frozen=True)
class Shards:
    """Raw examples in shards whose lengths are known.

    Args:
        open_shard: Function from the number of a shard, an int64 scalar, to its
            raw examples, always in the same order, as a `tf.data.Dataset`. Is
            traced.
        shard_lengths: Number of examples of each shard. What a shard holds
            beyond is left out.
    """

    open_shard: Callable[[tf.Tensor], tf.data.Dataset]
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
            part = self.open_shard(shard).skip(first).take(count)
            return part.apply(tf.data.experimental.assert_cardinality(count))

        return tf.data.Dataset.from_tensor_slices(parts).interleave(
            read,
            cycle_length=_SIDE_BY_SIDE,
            # Each part to its end, so that the order is the row's.
            block_length=self.count,
            num_parallel_calls=_SIDE_BY_SIDE,
            deterministic=True,
        )

"""The order of the examples of each epoch, a function of (seed, epoch)."""

import tensorflow as tf

from vqvae2_tf.data.shards import Shards


def shuffled(
    shards: Shards, window: int, seed: int, start: int = 0
) -> tf.data.Dataset:
    """Raw examples, epoch after epoch without end, each in another order.

    An epoch's shards are permuted, and the row of their examples is cut into
    windows, each of which is shuffled. The windows of an epoch have one size,
    between half of `window` and `window`, which differs between epochs, so that
    borders do too. Examples that fit into a window are shuffled as a whole.

    Each epoch reads its row once. To start within an epoch, the shards before
    are left out, so that of what lies before, no more is read again than a part
    of one window and one shard.

    Args:
        shards: `Shards`.
        window: Largest number of examples that are shuffled, of which one and a
            half times as many are in memory.
        seed: int.
        start: Position to start at, which is in epoch `start // shards.count`.

    Returns:
        `tf.data.Dataset` of the raw examples at the positions from `start` on.
    """
    count, num_shards = shards.count, len(shards.shard_lengths)
    is_whole, window = count <= window, min(count, window)

    def examples_of(epoch):
        permuted = tf.range(num_shards, dtype=tf.int64)
        size = tf.constant(window, tf.int64)
        if not is_whole:
            permuted = tf.random.experimental.stateless_shuffle(
                permuted, [seed, epoch]
            )
            size = tf.random.stateless_uniform(
                (), [seed, epoch], (window + 1) // 2, window + 1, tf.int64
            )
        done = tf.maximum(start - epoch * count, 0)
        first = done // size

        def shuffle(number, examples):
            # In this function's graph only: the order must not depend on the
            # process's global seed, which `shuffle` mixes in.
            tf.random.set_seed(1)
            return tf.data.Dataset.zip(examples).shuffle(
                size,
                epoch * 1_000_003 + number * 998_244_353 + seed,
                reshuffle_each_iteration=False,
            )

        # Each window is a nest of datasets that are in memory.
        windows = shards.row(first * size, count, permuted).window(size)
        windows = windows.enumerate(first)
        return windows.flat_map(shuffle).skip(done % size)

    epochs = tf.data.Dataset.range(start // count, tf.int64.max)
    # While half a window is on its way to training, the next one is read.
    return epochs.flat_map(examples_of).prefetch(max(window // 2, 1))

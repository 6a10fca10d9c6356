"""The order of the examples of each epoch, a function of (seed, epoch)."""

import tensorflow as tf

from vqvae2_tf.data.shards import Shards


def shuffled(
    shards: Shards,
    window: int,
    seed: int,
    start: int = 0,
    host: int = 0,
    hosts: int = 1,
) -> tf.data.Dataset:
    """Raw examples, epoch after epoch without end, each in another order.

    An epoch's shards are permuted, the row of their examples is parted among
    the hosts, and each part is shuffled in windows of so many examples, one
    after another. Their borders lie elsewhere in each epoch. So only the shards
    of one window are read to start anywhere. Examples that fit into a window
    are shuffled as a whole; then each host reads all of them, and their order
    does not depend on the number of hosts.

    All hosts together have each example once an epoch: position p of their
    endless sequence, which is in epoch `p // shards.count`, belongs to the
    host `p % hosts`.

    Args:
        shards: `Shards`.
        window: Number of examples that are shuffled, of which one and a half
            times as many are in memory.
        seed: int.
        start: Position to start at, a multiple of `hosts`.
        host: Number of this host.
        hosts: Number of hosts.

    Returns:
        `tf.data.Dataset` of the raw examples at the positions `start + host`,
        `start + host + hosts`, ...
    """
    if shards.count <= window:
        return _epochs(shards, window, seed, start, 0, 1).shard(hosts, host)
    return _epochs(shards, window, seed, start, host, hosts)


def _epochs(shards, window, seed, start, host, hosts):
    """As `shuffled`, but each host always reads its own part alone."""
    count, num_shards = shards.count, len(shards.shard_lengths)
    is_whole, window = count <= window, min(count, window)

    def before(position, host):
        """Number of a host's positions before a position."""
        return (position + hosts - 1 - host) // hosts

    def windows(epoch):
        """Number, first and last example, and skipped ones of each window."""
        first = epoch * count
        all_hosts = tf.range(hosts, dtype=tf.int64)
        sizes = before(first + count, all_hosts) - before(first, all_hosts)
        begin, size = tf.reduce_sum(sizes[:host]), sizes[host]
        done = tf.clip_by_value(start // hosts - before(first, host), 0, size)
        # Examples of the first window that the last epoch would have had.
        shift = tf.constant(0, tf.int64)
        if not is_whole:
            shift = tf.random.stateless_uniform(
                (), [seed, epoch], 0, window, tf.int64
            )

        def bounds(number):
            low = tf.maximum(number * window - shift, 0)
            high = tf.minimum((number + 1) * window - shift, size)
            skipped = tf.maximum(done - low, 0)
            return epoch, number, begin + low, begin + high, skipped

        last = (size + shift + window - 1) // window
        return tf.data.Dataset.range((done + shift) // window, last).map(bounds)

    def examples_of(epoch, number, low, high, skipped):
        permuted = tf.range(num_shards, dtype=tf.int64)
        if not is_whole:
            permuted = tf.random.experimental.stateless_shuffle(
                permuted, [seed, epoch]
            )
        # In this function's graph only: the order must not depend on the
        # process's global seed, which `shuffle` mixes in.
        tf.random.set_seed(1)
        window_seed = epoch * 1_000_003 + number * 998_244_353 + seed
        row = shards.row(low, high, permuted)
        row = row.shuffle(
            high - low, window_seed, reshuffle_each_iteration=False
        )
        return row.skip(skipped)

    epochs = tf.data.Dataset.range(start // count, tf.int64.max)
    # While half a window is on its way to training, the next one is read.
    return epochs.flat_map(windows).flat_map(examples_of).prefetch(window // 2)

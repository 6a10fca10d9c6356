"""Epochs in shuffled shards and windows, resumed anywhere, on any host."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from vqvae2_tf.data import order
from vqvae2_tf.data.batches import Examples
from vqvae2_tf.data.batches import training_batches
from vqvae2_tf.data.shards import Shards

LENGTHS = [7, 1, 12, 0, 9, 3, 8]
COUNT = 40
# The shard of each example, whose numbers go on from shard to shard.
SHARDS = np.repeat(np.arange(7), LENGTHS)
WINDOW = 6


def numbers():
    """Examples that are their own number."""
    begins = tf.constant(np.cumsum([0, *LENGTHS[:-1]]))
    lengths = tf.constant(LENGTHS, tf.int64)

    def open_shard(shard):
        begin = begins[shard]
        return tf.data.Dataset.range(begin, begin + lengths[shard])

    def read(number, seed=None):
        return {"number": number, **({} if seed is None else {"seed": seed})}

    return Examples(open_shard, LENGTHS, read, WINDOW)


def take(count, start=0, host=0, hosts=1, shuffled=WINDOW, seed=0):
    raw = order.shuffled(numbers(), shuffled, seed, start, host, hosts)
    return list(raw.take(count).as_numpy_iterator())


def together(epochs, hosts):
    """What all hosts read, in the order of their positions."""
    count = -(-epochs * COUNT // hosts)
    shares = [take(count, 0, host, hosts) for host in range(hosts)]
    return np.stack(shares, axis=1).ravel()[: epochs * COUNT]


# More hosts than there are shards, too, and counts they do not divide.
@pytest.mark.parametrize("hosts", [1, 2, 3, 8])
def test_every_epoch_of_all_hosts_has_every_example_once(hosts):
    epochs = together(6, hosts).reshape(6, COUNT)
    assert (np.sort(epochs, axis=1) == np.arange(COUNT)).all()
    assert len(np.unique(epochs, axis=0)) == 6
    # Shards are shuffled, not windows of a row that is always the same.
    assert len({tuple(dict.fromkeys(SHARDS[epoch])) for epoch in epochs}) == 6


@pytest.mark.parametrize("hosts", [1, 3])
def test_it_starts_anywhere_on_every_host(hosts):
    for host in range(hosts):
        whole = take(100 // hosts, 0, host, hosts)
        # Borders of epochs and windows, and between them.
        for start in (3, 12, 39, 42, 81):
            assert take(4, start, host, hosts) == whole[start // hosts :][:4]


@pytest.mark.parametrize("start_step", [0, 3, 8, 9, 10, 26])
def test_resumed_batches_are_those_of_one_run(start_step):
    # Four epochs of 40 examples, of which no border is one of a batch of 6.
    tf.random.set_seed(start_step)
    whole, resumed = (
        [
            tf.nest.map_structure(np.asarray, batch)
            for batch in training_batches(numbers(), 6, 3, step).take(27 - step)
        ]
        for step in (0, start_step)
    )
    for one, other in zip(whole[start_step:], resumed, strict=True):
        np.testing.assert_array_equal(one["number"], other["number"])
        np.testing.assert_array_equal(one["seed"], other["seed"])


@pytest.mark.parametrize("hosts", [1, 2])
def test_seeds_are_those_of_the_positions(hosts):
    shares = [
        training_batches(
            numbers(), 6, 3, 2, tf.distribute.InputContext(hosts, host, hosts)
        )
        for host in range(hosts)
    ]
    for step, batches in enumerate(zip(*shares, strict=True), 2):
        seeds = np.concatenate([batch["seed"] for batch in batches])
        positions = np.arange(6 * step, 6 * (step + 1))
        np.testing.assert_array_equal(np.sort(seeds[:, 1]), positions)
        assert (seeds[:, 0] == 3).all()
        if step == 9:
            break


def test_each_host_reads_its_own_shards():
    shares = [take(COUNT // 2, 0, host, 2) for host in range(2)]
    one, other = (set(SHARDS[share]) for share in shares)
    # At most one shard has a part for both.
    assert len(one & other) <= 1


def test_examples_stay_within_a_window_of_their_place_in_the_row():
    for epoch in np.reshape(take(6 * COUNT), (6, COUNT)):
        # A shard's place, if the shards stood in one of all possible orders.
        for shards in itertools.permutations(np.unique(SHARDS)):
            row = np.concatenate([np.flatnonzero(s == SHARDS) for s in shards])
            if np.abs(np.argsort(row)[epoch] - np.arange(COUNT)).max() < WINDOW:
                break
        else:
            pytest.fail("in no order of the shards")


def test_borders_of_windows_move():
    shard = Shards(lambda shard: tf.data.Dataset.range(40), [40])
    raw = order.shuffled(shard, 6, 0).take(60 * 40).as_numpy_iterator()
    places = np.argsort(np.reshape(list(raw), (60, 40)), axis=1)
    # Only within a window does the second of two neighbours ever come first.
    assert (places[:, 1:] < places[:, :-1]).any(axis=0).all()


def test_what_fits_into_a_window_is_shuffled_as_a_whole_for_all_hosts():
    one = take(2 * COUNT, shuffled=COUNT)
    displacement = np.abs(np.array(one[:COUNT]) - np.arange(COUNT))
    # Of a uniform permutation: a third of the count.
    assert 8 < displacement.mean() < 19
    for hosts in (2, 8):
        for host in range(hosts):
            share = take(2 * COUNT // hosts, 0, host, hosts, COUNT)
            assert share == one[host::hosts]


def test_a_part_of_a_row_opens_only_its_own_shards(tmp_path):
    paths = [str(tmp_path / f"{shard}.tfrecord") for shard in range(7)]
    for shard, path in enumerate(paths):
        with tf.io.TFRecordWriter(path) as writer:
            for number in np.flatnonzero(shard == SHARDS):
                writer.write(b"%d" % number)

    def read(record, seed=None):
        return {"number": tf.strings.to_number(record, tf.int64)}

    def batch(step):
        batches = training_batches(examples, 2, 0, step)
        return next(iter(batches))["number"].numpy()

    examples = Examples(
        lambda shard: tf.data.TFRecordDataset(tf.constant(paths)[shard]),
        LENGTHS,
        read,
        WINDOW,
    )
    position = 36
    whole = training_batches(examples, 2, 0).take(20)
    whole = np.concatenate([batch["number"] for batch in whole])
    expected = batch(position // 2)
    near = whole[position - WINDOW : position + WINDOW]
    for shard in set(range(7)) - set(SHARDS[near]):
        (tmp_path / f"{shard}.tfrecord").unlink()
    assert len(list(tmp_path.iterdir())) < 6
    np.testing.assert_array_equal(batch(position // 2), expected)
    with pytest.raises(tf.errors.NotFoundError):
        list(training_batches(examples, 2, 0).take(20))


@pytest.mark.parametrize("start", [0, 5, 7, 8, 20, 39, 40])
def test_examples_in_order_start_anywhere(start):
    found = list(numbers().open(start).as_numpy_iterator())
    assert found == list(range(start, COUNT))


@pytest.mark.parametrize("count", [0, 1, 7, 8, 25, 50])
def test_the_first_examples_of_several_shards(count):
    first = numbers().first(count)
    assert first.count == min(count, COUNT)
    found = list(first.open().as_numpy_iterator())
    assert found == list(range(first.count))


def test_a_shard_that_is_too_short_is_an_error():
    examples = Examples(lambda shard: tf.data.Dataset.range(3), [3, 4], None)
    with pytest.raises(tf.errors.FailedPreconditionError, match="4 elements"):
        list(examples.open())

"""Epochs in shuffled shards and windows, resumed anywhere, read once."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from vqvae2_tf.data import order
from vqvae2_tf.data.batches import Examples
from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.batches import training_batches

WINDOW = 6
MIXED = (7, 1, 12, 0, 9, 3, 8)
# More than a window of them, and one that is many windows long.
ONE_EACH = (1,) * 40
LARGE = (2, 35, 3)
SHARDS = pytest.mark.parametrize("lengths", [MIXED, ONE_EACH, LARGE])
COUNT = 40
READERS = pytest.mark.parametrize("readers", [1, 2, 6])
# In a window of the first epoch, at the end of it, and in the second.
STARTS = [20, 39, 47]


def shard_of(lengths):
    """The shard of each example, whose numbers go on from shard to shard."""
    return np.repeat(np.arange(len(lengths)), lengths)


def numbers(lengths, window=WINDOW, log=None, readers=1):
    """Examples that are their own number; reading one adds it to the log."""
    begins = tf.constant(np.cumsum([0, *lengths[:-1]]))

    def note(number):
        log.append(int(number))
        return number

    def open_part(shard, first, count):
        end = begins[shard] + first + count
        records = tf.data.Dataset.range(begins[shard], end)
        if log is not None:
            records = records.map(
                lambda x: tf.ensure_shape(
                    tf.numpy_function(note, [x], tf.int64), ()
                )
            )
        # Skipped ones are read, as those of a file are.
        return records.skip(first)

    def read(number, seed=None):
        return {"number": number, **({} if seed is None else {"seed": seed})}

    return Examples(open_part, lengths, read, window, readers)


@functools.cache
def read_from(start, lengths, seed=0, window=WINDOW):
    """Examples up to the end of the third epoch, and what was read for them."""
    # Must not matter.
    tf.random.set_seed(start)
    log = []
    examples = numbers(lengths, window, log)
    raw = order.shuffled(examples, window, seed, start).take(3 * COUNT - start)
    found = list(raw.as_numpy_iterator())
    return found, np.array(log)


def epochs_of(lengths, **kwargs):
    return np.reshape(read_from(0, lengths, **kwargs)[0], (3, COUNT))


@SHARDS
def test_every_epoch_has_every_example_once_in_another_order(lengths):
    epochs = epochs_of(lengths)
    assert (np.sort(epochs, axis=1) == np.arange(COUNT)).all()
    assert len(np.unique(epochs, axis=0)) == 3
    assert (epochs_of(lengths, seed=1) != epochs).any(axis=1).all()


def test_shards_are_in_another_order_in_every_epoch():
    # Not windows of a row that is always the same.
    shards = [
        tuple(dict.fromkeys(shard_of(MIXED)[e])) for e in epochs_of(MIXED)
    ]
    assert len(set(shards)) == 3


@SHARDS
@pytest.mark.parametrize("start", STARTS)
def test_a_resumed_order_is_that_of_one_run(lengths, start):
    whole, _ = read_from(0, lengths)
    assert read_from(start, lengths)[0] == whole[start:]


@READERS
@pytest.mark.parametrize("start_step", [3, 13])
def test_resumed_batches_are_those_of_one_run(start_step, readers):
    # Of three epochs no border is one of a batch of 6.
    examples = numbers(MIXED, readers=readers)
    whole, resumed = (
        list(
            training_batches(examples, 6, 3, step)
            .take(20 - step)
            .as_numpy_iterator()
        )
        for step in (0, start_step)
    )
    for one, other in zip(whole[start_step:], resumed, strict=True):
        np.testing.assert_array_equal(one["number"], other["number"])
        np.testing.assert_array_equal(one["seed"], other["seed"])


@READERS
@pytest.mark.parametrize("hosts", [2, 3])
def test_hosts_together_have_the_batches_of_one(hosts, readers):
    examples = numbers(MIXED, readers=readers)

    def some_batches(context=None):
        batches = training_batches(examples, 6, 3, 2, context)
        return list(batches.take(9).as_numpy_iterator())

    shares = [
        some_batches(tf.distribute.InputContext(hosts, host, hosts))
        for host in range(hosts)
    ]
    for whole, *parts in zip(some_batches(), *shares, strict=True):
        for name, values in whole.items():
            together = np.concatenate([part[name] for part in parts])
            np.testing.assert_array_equal(together, values)


def test_readers_give_their_parts_to_every_batch():
    examples = numbers(MIXED, readers=2)
    batches = training_batches(examples, 4, 0).take(COUNT // 4)
    rows = np.array([batch["number"] for batch in batches])
    for part, own in enumerate((rows[:, :2], rows[:, 2:])):
        # An epoch of each, in another order.
        expected = np.arange(20) + 20 * part
        np.testing.assert_array_equal(np.sort(own, axis=None), expected)
        assert (own.ravel() != expected).any()
        # By windows of half the size, which the border of a shard may cut.
        row = order.shuffled(
            examples.part(*expected[[0, -1]] + [0, 1]), 3, part
        )
        row = list(row.take(20).as_numpy_iterator())
        np.testing.assert_array_equal(own.ravel(), row)
    seeds = [batch["seed"][:, 1].numpy() for batch in batches]
    np.testing.assert_array_equal(np.ravel(seeds), np.arange(COUNT))


@pytest.mark.parametrize(
    "readers, hosts, first", [(1, 2, 0), (2, 2, 20), (2, 6, 20), (6, 3, 20)]
)
def test_a_host_reads_what_its_readers_do(readers, hosts, first):
    log = []
    examples = numbers(MIXED, log=log, readers=readers)
    context = tf.distribute.InputContext(hosts, hosts - 1, hosts)
    batches = training_batches(examples, 6, 0, 0, context)
    list(batches.take(COUNT // 6).as_numpy_iterator())
    # Of six readers the last but one begins at 26, in the shard of 20 to 28.
    assert min(log) == first


def test_replicas_of_a_host_have_neighbouring_rows():
    shares = [
        evaluation_batches(
            numbers(MIXED), 8, tf.distribute.InputContext(2, host, 4), start=5
        )
        for host in range(2)
    ]
    first, second = (
        [batch["number"].numpy().tolist() for batch in share.take(4)]
        for share in shares
    )
    assert first == [[5, 6], [7, 8], [13, 14], [15, 16]]
    assert second == [[9, 10], [11, 12], [17, 18], [19, 20]]


@SHARDS
def test_examples_stay_within_a_window_of_their_place_in_the_row(lengths):
    _, log = read_from(0, lengths)
    # They are read in the row's order, so that the log is the row.
    row = log[:COUNT]
    shards = [shard for shard, _ in itertools.groupby(shard_of(lengths)[row])]
    assert len(shards) == len(set(shards))
    places = np.argsort(row)[epochs_of(lengths)[0]]
    assert 0 < np.abs(places - np.arange(COUNT)).max() < WINDOW


def test_borders_of_windows_move():
    raw = order.shuffled(numbers([COUNT]), WINDOW, 0).take(60 * COUNT)
    epochs = np.reshape(list(raw.as_numpy_iterator()), (60, COUNT))
    places = np.argsort(epochs, axis=1)
    # Only within a window does the second of two neighbours ever come first.
    assert (places[:, 1:] < places[:, :-1]).any(axis=0).all()


def test_what_fits_into_a_window_is_shuffled_as_a_whole():
    epoch = epochs_of(MIXED, window=COUNT)[0]
    displacement = np.abs(epoch - np.arange(COUNT))
    # Of a uniform permutation: a third of the count.
    assert 8 < displacement.mean() < 19
    # The same whatever the shards are.
    other = epochs_of(LARGE, window=COUNT)[0]
    np.testing.assert_array_equal(other, epoch)


@SHARDS
def test_each_record_is_read_once_an_epoch(lengths):
    _, log = read_from(0, lengths)
    # What was read ahead belongs to the next epochs.
    epochs = np.reshape(log[: 3 * COUNT], (3, COUNT))
    assert (np.sort(epochs, axis=1) == np.arange(COUNT)).all()


@SHARDS
@pytest.mark.parametrize("start", STARTS)
def test_resuming_reads_again_a_part_of_one_shard_and_window(lengths, start):
    epoch, position = divmod(start, COUNT)
    _, log = read_from(0, lengths)
    row = log[epoch * COUNT :][:COUNT]
    # Up to the end of the epoch in which it starts.
    _, resumed = read_from(start, lengths)
    resumed = resumed[: np.flatnonzero(resumed == row[-1])[0] + 1]
    assert len(np.unique(resumed)) == len(resumed)
    places = np.argsort(row)[resumed]
    assert set(places[places >= position]) == set(range(position, COUNT))
    shards = shard_of(lengths)[row]
    # Before the window, of the shard alone in which the window begins.
    first = max(position - WINDOW + 1, 0)
    before = set(shards[places[places < first]])
    assert len(before) <= 1 and before <= set(shards[first : position + 1])


def test_a_part_of_a_row_opens_only_its_own_shards(tmp_path):
    paths = [str(tmp_path / f"{shard}.tfrecord") for shard in range(7)]
    for shard, path in enumerate(paths):
        with tf.io.TFRecordWriter(path) as writer:
            for number in np.flatnonzero(shard == shard_of(MIXED)):
                writer.write(b"%d" % number)

    def open_part(shard, first, count):
        records = tf.data.TFRecordDataset(tf.constant(paths)[shard])
        return records.skip(first).take(count)

    def read(record, seed=None):
        return {"number": tf.strings.to_number(record, tf.int64)}

    def batch(step):
        batches = training_batches(examples, 2, 0, step)
        return next(iter(batches))["number"].numpy()

    examples = Examples(open_part, MIXED, read, WINDOW)
    position = 36
    whole = training_batches(examples, 2, 0).take(20)
    whole = np.concatenate([batch["number"] for batch in whole])
    expected = batch(position // 2)
    near = whole[position - WINDOW : position + WINDOW]
    for shard in set(range(7)) - set(shard_of(MIXED)[near]):
        (tmp_path / f"{shard}.tfrecord").unlink()
    assert len(list(tmp_path.iterdir())) < 6
    np.testing.assert_array_equal(batch(position // 2), expected)
    with pytest.raises(tf.errors.NotFoundError):
        list(training_batches(examples, 2, 0).take(20))


@SHARDS
def test_examples_in_order_start_anywhere_and_are_read_one_by_one(lengths):
    options = tf.data.Options()
    # TensorFlow's own, of one batch or two.
    options.experimental_optimization.inject_prefetch = False
    for start in (0, 8, 40):
        log = []
        raw = numbers(lengths, log=log).open(start).with_options(options)
        raw = raw.as_numpy_iterator()
        found = list(itertools.islice(raw, 2))
        # What is skipped in a file is read.
        assert max(log, default=COUNT) == min(start + 1, COUNT)
        assert found + list(raw) == list(range(start, COUNT))


@pytest.mark.parametrize("count", [0, 1, 7, 8, 25, 50])
def test_the_first_examples_of_several_shards(count):
    first = numbers(MIXED).first(count)
    assert first.count == min(count, COUNT)
    found = list(first.open().as_numpy_iterator())
    assert found == list(range(first.count))


def test_a_shard_that_is_too_short_is_an_error():
    def open_part(shard, first, count):
        return tf.data.Dataset.range(3).skip(first).take(count)

    examples = Examples(open_part, [3, 4], None)
    with pytest.raises(tf.errors.FailedPreconditionError, match="4 elements"):
        list(examples.open())

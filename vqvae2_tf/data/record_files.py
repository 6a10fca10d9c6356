"""Records of a file of any format that TFDS writes."""

from collections.abc import Iterator

import tensorflow as tf
from tensorflow_datasets.core import file_adapters

# What TensorFlow reads at once by itself; TFDS takes 8 MB a file.
_BUFFER_BYTES = 2**18


def open_records(
    file_format: file_adapters.FileFormat,
    path: tf.Tensor,
    first: tf.Tensor,
    count: tf.Tensor,
) -> tf.data.Dataset:
    """A part of a file's records, in the file's order.

    Args:
        file_format: Format of the file.
        path: Path of the file, a scalar string.
        first: Number of the first record, an int64 scalar.
        count: Number of records, an int64 scalar.

    Returns:
        `tf.data.Dataset` of serialized examples, scalar strings.
    """
    if file_format == file_adapters.FileFormat.ARRAY_RECORD:
        # TFDS itself reads them without TensorFlow only.
        return tf.data.Dataset.from_generator(
            _array_records,
            args=(path, first, count),
            output_signature=tf.TensorSpec((), tf.string),
        )
    adapter = file_adapters.ADAPTER_FOR_FORMAT[file_format]
    records = adapter.make_tf_data(path, _BUFFER_BYTES)
    return records.skip(first).take(count)


def _array_records(path, first, count) -> Iterator[bytes]:
    # TFDS requires the package on Linux alone.
    from array_record.python import array_record_data_source

    paths = [path.decode()]
    with array_record_data_source.ArrayRecordDataSource(paths) as source:
        for number in range(first, min(first + count, len(source))):
            yield source[number]

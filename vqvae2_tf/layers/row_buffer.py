"""Reads and writes single columns of rows `[B, W, C]`."""

from keras import ops


def read_columns(rows, column, count=1):
    """Adjacent columns of rows.

    Args:
        rows: `[B, W, C]`.
        column: int32 scalar, index of the first column.
        count: Number of columns.

    Returns:
        `[B, count * C]`, the columns concatenated.
    """
    channels = rows.shape[-1]
    # With -1 for B, XLA would pad the rows in case the slice exceeded them.
    shape = (ops.shape(rows)[0], count, channels)
    columns = ops.slice(rows, (0, column, 0), shape)
    return ops.reshape(columns, (-1, count * channels))


def write_column(rows, column, x):
    """Rows with one column replaced.

    Args:
        rows: `[B, W, C]`.
        column: int32 scalar.
        x: `[B, C]`.

    Returns:
        `[B, W, C]`.
    """
    return ops.slice_update(rows, (0, column, 0), x[:, None])

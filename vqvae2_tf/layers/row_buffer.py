"""Rows that are written and read a position at a time."""

from keras import ops


def read_columns(rows, column, count=1):
    """Some columns of rows.

    Args:
        rows: `[B, W, C]`.
        column: int32 scalar, the first of them.
        count: Number of columns.

    Returns:
        `[B, count * C]`, column after column.
    """
    channels = rows.shape[-1]
    # Not -1 for B: XLA would pad the rows for the case that nothing is left.
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

"""Attention over code maps, from each position to its neighbourhoods."""

import math

import numpy as np
from keras import ops

# Rows and columns of the queries that share a window of keys.
_TILE = 4


class LocalAttention:
    """Attention in which the memory grows with the positions, not their square.

    The tokens are those of several maps, coarsest first, each in raster order,
    after at most one token that belongs to no map. A position attends to the
    square of `kernel` around it on its own map, to the square of
    `coarser_kernel` around the place that it lies over on the map before, and
    to the token of no map, which attends to itself alone (MS-VQVAE, section
    3.3 and figure 3, right). At the borders the squares end with the map.

    Tiles of 4x4 queries attend to the window that holds all of their squares,
    and a mask leaves out the rest of it: of P positions with `kernel` k there
    are P (k + 3)^2 logits a head on their own map.

    Args:
        sizes: `(H, W)` of each map, coarsest first.
        has_first: Whether a token of no map comes first.
        kernel: Size of the square on the own map, odd.
        coarser_kernel: Size of the square on the map before, odd.

    Call arguments:
        queries: `[B, heads, P, D]` float, scaled; P counts all tokens.
        keys: `[B, heads, P, D]` float.
        values: `[B, heads, P, D]` float.

    Returns:
        `[B, heads, P, D]` float.
    """

    def __init__(self, sizes, has_first=False, kernel=5, coarser_kernel=3):
        self.sizes = [tuple(size) for size in sizes]
        self.has_first = has_first
        self._plans = []
        for i, size in enumerate(self.sizes):
            seen = [(i, _Windows(size, size, kernel))]
            if i:
                above = self.sizes[i - 1]
                seen.insert(0, (i - 1, _Windows(size, above, coarser_kernel)))
            self._plans.append(seen)

    def __call__(self, queries, keys, values):
        heads, size = queries.shape[1], queries.shape[-1]

        def maps(x):
            """`[B, heads, H, W, D]` of each map."""
            found, start = [], int(self.has_first)
            for height, width in self.sizes:
                stop = start + height * width
                shape = (-1, heads, height, width, size)
                found.append(ops.reshape(x[:, :, start:stop], shape))
                start = stop
            return found

        query_maps, key_maps, value_maps = map(maps, (queries, keys, values))
        # Attention to a single token gives its value.
        outputs = [values[:, :, :1]] if self.has_first else []
        for query_map, plan in zip(query_maps, self._plans, strict=True):
            seen_keys, seen_values = (
                [windows.of(found[i]) for i, windows in plan]
                for found in (key_maps, value_maps)
            )
            masks = [windows.mask for _, windows in plan]
            if self.has_first:
                like = ops.zeros_like(seen_keys[0][:, :, :, :1])
                seen_keys.append(like + keys[:, :, None, :1])
                seen_values.append(like + values[:, :, None, :1])
                masks.append(np.ones_like(masks[0][..., :1]))
            own = plan[-1][1]
            attended = _attend(
                own.tiles(query_map),
                ops.concatenate(seen_keys, axis=3),
                ops.concatenate(seen_values, axis=3),
                np.concatenate(masks, axis=-1),
            )
            shape = (-1, heads, math.prod(query_map.shape[2:4]), size)
            outputs.append(ops.reshape(own.untiled(attended), shape))
        return ops.concatenate(outputs, axis=2)


class _Windows:
    """Tiles of a map's queries, and the windows of keys that they attend to.

    Args:
        size: `(H, W)` of the queries' map.
        seen: `(h, w)` of the keys' map.
        kernel: Size of each query's square on the keys' map.
    """

    def __init__(self, size, seen, kernel):
        self._size = size
        axes = [
            _windows(n, m, kernel // 2) for n, m in zip(size, seen, strict=True)
        ]
        self._positions = [positions for positions, _ in axes]
        rows, columns = (is_near for _, is_near in axes)
        # [I, J, row, column, window's row, window's column].
        mask = rows[:, None, :, None, :, None] & columns[:, None, :, None]
        self._counts, self._tile = mask.shape[:2], mask.shape[2:4]
        shape = (math.prod(self._counts), math.prod(self._tile), -1)
        self.mask = mask.reshape(shape)

    def of(self, keys):
        """Windows `[B, heads, I * J, h * w, D]` of `[B, heads, H, W, D]`."""
        for axis, positions in enumerate(self._positions, 2):
            keys = ops.take(keys, positions.reshape(-1), axis=axis)
        sizes = [positions.shape[1] for positions in self._positions]
        return _by_tile(keys, *sizes)

    def tiles(self, queries):
        """Tiles `[B, heads, I * J, h * w, D]` of `[B, heads, H, W, D]`.

        Where the map ends in a tile, positions after it repeat its last.
        """
        pairs = zip(self._size, self._counts, self._tile, strict=True)
        for axis, (size, count, tile) in enumerate(pairs, 2):
            if count * tile > size:
                positions = np.minimum(np.arange(count * tile), size - 1)
                queries = ops.take(queries, positions, axis=axis)
        return _by_tile(queries, *self._tile)

    def untiled(self, tiles):
        """`[B, heads, H, W, D]` of `[B, heads, I * J, h * w, D]`."""
        (rows, columns), (height, width) = self._counts, self._tile
        heads, size = tiles.shape[1], tiles.shape[-1]
        x = ops.reshape(tiles, (-1, heads, rows, columns, height, width, size))
        x = ops.swapaxes(x, 3, 4)
        shape = (-1, heads, rows * height, columns * width, size)
        return ops.reshape(x, shape)[:, :, : self._size[0], : self._size[1]]


def _windows(size, seen, reach):
    """One axis of the tiles and their windows.

    Args:
        size: Positions of the queries.
        seen: Positions of the keys.
        reach: How far a query attends to either side of where it lies over.

    Returns:
        Tuple of the positions of the keys `[I, window]`, and of which of them
        each query attends to, `[I, tile, window]` bool.
    """
    tile = min(_TILE, size)
    starts = np.arange(0, size, tile)
    queries = np.minimum(starts[:, None] + np.arange(tile), size - 1)
    centres = queries * seen // size
    span = np.max(centres[:, -1] - centres[:, 0])
    width = min(span + 2 * reach + 1, seen)
    # At the borders the window stays on the map.
    first = np.clip(centres[:, 0] - reach, 0, seen - width)
    positions = first[:, None] + np.arange(width)
    distances = np.abs(positions[:, None, :] - centres[:, :, None])
    return positions, distances <= reach


def _by_tile(x, height, width):
    """`[B, heads, I * J, h * w, D]` of `[B, heads, I * h, J * w, D]`."""
    _, heads, rows, columns, size = x.shape
    rows, columns = rows // height, columns // width
    x = ops.reshape(x, (-1, heads, rows, height, columns, width, size))
    x = ops.swapaxes(x, 3, 4)
    return ops.reshape(x, (-1, heads, rows * columns, height * width, size))


def _attend(queries, keys, values, mask):
    """Attention of each tile to its window, `[B, heads, tiles, P, D]` each."""
    logits = ops.matmul(queries, ops.swapaxes(keys, -1, -2))
    mask = ops.convert_to_tensor(mask)
    logits = ops.where(mask, ops.cast(logits, "float32"), -1e30)
    weights = ops.cast(ops.softmax(logits), values.dtype)
    return ops.matmul(weights, values)

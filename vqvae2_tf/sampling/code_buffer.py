"""Code maps that are filled one position after another."""

from keras import ops


class CodeBuffer:
    """Code maps as `[B, P, ...]`, some positions of which may be known.

    Args:
        level: `Level` of the maps, of P positions.
        batch_size: B.
        known: `[B, *level.shape]`, codes of which some are kept, or None.
        known_mask: `[B, H, W]` bool, where they are kept.
    """

    def __init__(self, level, batch_size, known=None, known_mask=None):
        tail = level.shape[2:]
        self._level = level
        self._shape = (batch_size, level.num_positions, *tail)
        self._known = None
        if known is not None:
            shape = (*self._shape[:2], *[1] * len(tail))
            self._known = ops.reshape(known, self._shape)
            self._mask = ops.reshape(known_mask, shape)

    def empty(self):
        """The buffer before the first position."""
        return ops.zeros(self._shape, dtype=self._level.dtype)

    def keep_known(self, codes, position):
        """Codes `[B, ...]` drawn at a position, or those known there."""
        if self._known is None:
            return codes
        known = ops.take(self._known, position, axis=1)
        return ops.where(ops.take(self._mask, position, axis=1), known, codes)

    def write(self, buffer, codes, position):
        """The buffer with codes `[B, ...]` at a position."""
        start = (0, position, *[0] * (len(self._shape) - 2))
        return ops.slice_update(buffer, start, codes[:, None])

    def maps(self, buffer):
        """The full buffer as `[B, *level.shape]`."""
        return ops.reshape(buffer, (self._shape[0], *self._level.shape))

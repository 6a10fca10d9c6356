"""Codes of a tokenizer that this package does not have."""

import re
from collections.abc import Sequence

import numpy as np
from keras import ops

from vqvae2_tf.autoencoders.base import Autoencoder
from vqvae2_tf.flags import GENERATOR
from vqvae2_tf.flags import Flag
from vqvae2_tf.level import Level

# Pixels that show a code of the finest map, across and down.
_TILE = 8
_LEVEL = re.compile(r"(\w+):(\d+)x(\d+):(\d+)")

FLAGS = (
    Flag(
        "code_levels",
        [],
        "The codes' levels, coarsest first, as NAME:HEIGHTxWIDTH:K.",
        many=True,
    ),
    Flag(
        "decoder",
        None,
        "SavedModel whose function `decode` makes images of the codes.",
        path=True,
        role=GENERATOR,
    ),
)


class External(Autoencoder):
    """Levels of codes that are given, in place of an autoencoder.

    It has no weights, and does not encode. Where a generator is exported,
    `decoder` makes the images; without one they show the codes themselves, each
    as a tile of a colour of its own, and the mean of the levels' tiles.

    Args:
        code_levels: Such as `["top:8x8:512", "bottom:16x16:512"]`, coarsest
            first: name, height, width and K.
        decoder: Path of a SavedModel, or None; see
            `export.load.load_decoder`.
        channels: Channels of the images that show codes.
        seed: Of no effect.

    Raises:
        ValueError: If a level is described in another way.
    """

    FLAGS = FLAGS
    needs_images = False

    def __init__(
        self, code_levels=(), decoder=None, channels=3, seed=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.channels = channels
        self.saved_decoder = decoder
        self._levels = [_level(text) for text in code_levels]
        if not self._levels:
            raise ValueError("`code_levels` must hold one level or more.")

    def build(self, images_shape):
        """Makes nothing, as there are no weights."""

    def levels(self, image_size):
        """The levels that were given, whatever the size of images."""
        return list(self._levels)

    def decode(self, codes):
        """Images that show codes; see `Autoencoder`. -1 is grey."""
        self.check_codes(codes, self._levels)
        sizes = [level.size for level in self._levels]
        size = [_TILE * max(lengths) for lengths in zip(*sizes, strict=True)]
        total = 0.0
        for level, maps in zip(self._levels, codes, strict=True):
            # The same colours in every process.
            draws = np.random.default_rng(0)
            shape = level.num_codes, self.channels
            colours = draws.uniform(-1, 1, shape).astype("float32")
            maps = ops.convert_to_tensor(maps)
            tiles = ops.take(colours, ops.maximum(maps, 0), axis=0)
            tiles = ops.where(maps[..., None] >= 0, tiles, 0.0)
            total += ops.image.resize(
                tiles, size, "nearest", data_format="channels_last"
            )
        return total / len(codes)


def flag_lines(levels: Sequence[Level]) -> list[str]:
    """The flags that choose these levels, a line each."""
    texts = (f"{x.name}:{x.height}x{x.width}:{x.num_codes}" for x in levels)
    name = __name__.rpartition(".")[2]
    return [f"--autoencoder={name}", f"--code_levels={','.join(texts)}"]


def _level(text):
    match = _LEVEL.fullmatch(text)
    numbers = [int(number) for number in match.groups()[1:]] if match else [0]
    if min(numbers) < 1:
        raise ValueError(
            "`code_levels`: expected NAME:HEIGHTxWIDTH:K, such as "
            f"top:16x16:1024. Received: {text}"
        )
    return Level(match[1], *numbers)


Model = External

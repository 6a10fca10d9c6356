"""One code map, as files, priors and exports see it."""

import dataclasses
import math
from collections.abc import Sequence

from vqvae2_tf.flags import Flag


@dataclasses.dataclass(frozen=True)
class Level:
    """One code map of an autoencoder.

    Args:
        name: `top`, `middle`, `bottom`, `layer_1`, ...
        height: H of the map.
        width: W of the map.
        num_codes: K, if the map holds codes; None if it holds vectors.
        channels: D of the vectors; 0 for codes.
    """

    name: str
    height: int
    width: int
    num_codes: int | None
    channels: int = 0

    @classmethod
    def of(cls, value) -> "Level":
        """A level from itself or from its `to_json`."""
        return value if isinstance(value, cls) else cls(**value)

    def to_json(self) -> dict:
        """The arguments as a dict."""
        return dataclasses.asdict(self)

    @property
    def size(self) -> tuple[int, int]:
        """`(H, W)`."""
        return self.height, self.width

    @property
    def num_positions(self) -> int:
        """H * W."""
        return self.height * self.width

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one map: `(H, W)` for codes, `(H, W, D)` for vectors."""
        return self.size if self.num_codes else (*self.size, self.channels)

    @property
    def dtype(self) -> str:
        """`int32` for codes, `float32` for vectors."""
        return "int32" if self.num_codes else "float32"

    @property
    def storage(self) -> str:
        """NumPy dtype of a map on disk, little-endian."""
        if not self.num_codes:
            return "<f2"
        return "<u2" if self.num_codes <= 65536 else "<i4"

    @property
    def bits(self) -> float:
        """Bits of one map if all codes are equally likely; as stored if it
        holds vectors."""
        if self.num_codes:
            return self.num_positions * math.log2(self.num_codes)
        return 16 * self.num_positions * self.channels

    @property
    def unknown(self) -> float:
        """Marks a position that a decoder leaves out: -1, or NaN in vectors."""
        return -1 if self.num_codes else math.nan

    def codes(self, name: str = "", minimum: int = -1) -> Flag:
        """The codes that a map may hold: what they are checked with.

        Args:
            name: The argument's name; the level's by default.
            minimum: -1 (unknown), or 0 where all codes must be known.
        """
        name = name or self.name
        return Flag(name, 0, "Codes.", minimum, self.num_codes - 1)


def hierarchical_levels(
    image_size: tuple[int, int], strides: Sequence[int], num_codes: int
) -> list[Level]:
    """Levels of a hierarchy of code maps, coarsest first.

    Args:
        image_size: `(height, width)` in pixels.
        strides: Factors from the pixels to the bottom map, from there to the
            next coarser one, and so on.
        num_codes: K of each level.

    Returns:
        Levels named `top`; `top`, `bottom`; `top`, `middle`, `bottom`; or with
        `middle_1`, `middle_2`, ... from coarse to fine.

    Raises:
        ValueError: If the strides do not divide the size.
    """
    sizes = []
    height, width = image_size
    factor = math.prod(strides)
    for stride in strides:
        if height % stride or width % stride:
            raise ValueError(
                f"`strides` {tuple(strides)} must divide the image's size: "
                f"expected multiples of {factor}. Received: "
                f"{image_size[0]}x{image_size[1]} pixels"
            )
        height, width = height // stride, width // stride
        sizes.insert(0, (height, width))
    middles = [f"middle_{i + 1}" for i in range(len(sizes) - 2)]
    if len(sizes) == 3:
        middles = ["middle"]
    names = ["top", *middles, "bottom"][: len(sizes)]
    return [
        Level(name, *size, num_codes)
        for name, size in zip(names, sizes, strict=True)
    ]

"""Any picture file to an array."""

import io
import math
import struct

import numpy as np
from PIL import Image
from PIL import ImageOps
from PIL import PngImagePlugin

ENDINGS = (
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    ".png",
    ".tif",
    ".tiff",
    ".webp",
)

_LONGEST = 16

# Pillow refuses PNG files with colour profiles and texts above 1 MiB, which
# photographs may have.
PngImagePlugin.MAX_TEXT_CHUNK = 32 << 20

# What Pillow raises at damaged files, or camera data of the wrong types.
_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    struct.error,
    Image.DecompressionBombError,
)


class UnreadableImageError(ValueError):
    """Bytes that are no whole picture, or one without a defined range."""


def decode_image(data: bytes, channels: int) -> Image.Image:
    """Decodes a picture of any usual format and mode.

    Transparency, of whatever mode, is put on white. 16 bits a channel are
    scaled to 8, greys to the nearest value, colours by their high byte, as
    Pillow reads them. CMYK is converted without a colour profile. The
    orientation that a camera noted is applied; of an animation the first
    picture is taken.

    Args:
        data: The file's bytes.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        `PIL.Image.Image` of mode `L` or `RGB`.

    Raises:
        UnreadableImageError: If the bytes are no whole picture, or its
            values are floats or have more than 16 bits, so that nothing says
            which of them is white.
    """
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
        picture = _eight_bits(ImageOps.exif_transpose(picture))
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture)
        return picture.convert("L" if channels == 1 else "RGB")
    except _BROKEN as error:
        raise UnreadableImageError(str(error)) from error


def _eight_bits(picture):
    """A picture of 8 bits a channel; 16-bit greys are scaled by 1 / 257."""
    if picture.mode == "F":
        raise ValueError("float values have no defined range")
    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture, "int64")
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("values of more than 16 bits")
    return Image.fromarray(np.rint(values / 257.0).astype("uint8"))


def cover(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scales a picture so that it just covers `size`, keeping its shape.

    Args:
        picture: `PIL.Image.Image`.
        size: `(height, width)` in pixels.

    Returns:
        `PIL.Image.Image`, of `size` in one direction, not less in the other.
        The ends of what would be more than 16 times `size` are cut off.
    """
    scale = max(size[0] / picture.height, size[1] / picture.width)
    if scale == 1.0:
        return picture
    # A strip of one pixel's width must not fill the memory.
    width = min(picture.width, math.ceil(_LONGEST * size[1] / scale))
    height = min(picture.height, math.ceil(_LONGEST * size[0] / scale))
    left = (picture.width - width) // 2
    top = (picture.height - height) // 2
    picture = picture.crop((left, top, left + width, top + height))
    new_size = (
        max(size[1], round(picture.width * scale)),
        max(size[0], round(picture.height * scale)),
    )
    return picture.resize(new_size, Image.Resampling.LANCZOS)

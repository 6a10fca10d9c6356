"""Any picture file to an array."""

import io
import struct

import numpy as np
from PIL import Image
from PIL import ImageOps

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
# What Pillow raises at bytes that are no whole picture, or whose camera data
# are of the wrong types.
BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    struct.error,
    Image.DecompressionBombError,
)


def decode_picture(data: bytes, channels: int) -> Image.Image:
    """Decodes a picture of any usual format and mode.

    Transparency is put on white, 16-bit greys are scaled to 8 bits, the
    orientation that a camera noted is applied; of an animation the first
    picture is taken.

    Args:
        data: The file's bytes.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        `PIL.Image.Image` of mode `L` or `RGB`.

    Raises:
        One of `BROKEN`: If the bytes are no whole picture.
    """
    picture = Image.open(io.BytesIO(data))
    picture.load()
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, "float64")
        if picture.mode.startswith("I"):
            values = values / 257.0
        picture = Image.fromarray(np.clip(values, 0, 255).astype("uint8"))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("L" if channels == 1 else "RGB")


def cover(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scales a picture so that it just covers `size`, keeping its shape.

    Args:
        picture: `PIL.Image.Image`.
        size: `(height, width)` in pixels.

    Returns:
        `PIL.Image.Image`, of `size` in one direction, not less in the other.
    """
    scale = max(size[0] / picture.height, size[1] / picture.width)
    if scale == 1.0:
        return picture
    new_size = (
        max(size[1], round(picture.width * scale)),
        max(size[0], round(picture.height * scale)),
    )
    return picture.resize(new_size, Image.Resampling.LANCZOS)

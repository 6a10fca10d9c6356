"""Decodes image files of any usual format."""

import io
import math
import struct
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL import ImageOps
from PIL import PngImagePlugin
from tqdm.contrib.concurrent import thread_map

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

# The largest ratio of a covering image's longer side to the size covered.
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
    """Bytes that are no complete image, or one without a defined range."""


def decode_image(data: bytes, channels: int) -> Image.Image:
    """Decodes an image of any usual format and mode.

    Transparent images are put on white. 16 bits a channel are scaled to 8:
    greys to the nearest value, colours by their high byte, as Pillow reads
    them. CMYK is converted without a colour profile. The orientation recorded
    by a camera is applied. An animation gives its first frame.

    Args:
        data: Contents of the file.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        `PIL.Image.Image` of mode `L` or `RGB`.

    Raises:
        UnreadableImageError: If the bytes are no complete image, or if its
            values are floats or have more than 16 bits, so that white is
            undefined.
    """
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        image = _eight_bits(ImageOps.exif_transpose(image))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return image.convert("L" if channels == 1 else "RGB")
    except _BROKEN as error:
        raise UnreadableImageError(str(error)) from error


def _eight_bits(image):
    """An image of 8 bits a channel; 16-bit greys are scaled by 1 / 257."""
    if image.mode == "F":
        raise ValueError("float values have no defined range")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image, "int64")
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("values of more than 16 bits")
    return Image.fromarray(np.rint(values / 257.0).astype("uint8"))


def cover(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scales an image to just cover `size`, keeping its aspect ratio.

    Args:
        image: `PIL.Image.Image`.
        size: `(height, width)` in pixels.

    Returns:
        `PIL.Image.Image` that equals `size` in one direction and is not
        smaller in the other. Ends that would reach beyond 16 times `size` are
        cut off.
    """
    scale = max(size[0] / image.height, size[1] / image.width)
    # A strip one pixel wide must not fill the memory.
    width = min(image.width, math.ceil(_LONGEST * size[1] / scale))
    height = min(image.height, math.ceil(_LONGEST * size[0] / scale))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    image = image.crop((left, top, left + width, top + height))
    return ImageOps.cover(image, size[::-1], Image.Resampling.LANCZOS)


def check_images(check: Callable, names: Sequence) -> dict:
    """Checks images in threads, with a progress bar.

    Args:
        check: Function of a name.
        names: Names of the images.

    Returns:
        `{name: check(name)}`, in the order of `names`.
    """
    results = thread_map(check, names, desc="checking images", unit="img")
    return dict(zip(names, results, strict=True))

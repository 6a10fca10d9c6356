"""Decodes image files of the usual formats."""

import io
import math
import warnings
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL import ImageFile
from PIL import ImageOps
from PIL import PngImagePlugin
from PIL import UnidentifiedImageError
from tqdm.contrib.concurrent import thread_map

from vqvae2_tf.errors import one_line

ENDINGS = (
    ".avif",
    ".bmp",
    ".gif",
    ".jfif",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".png",
    ".tif",
    ".tiff",
    ".webp",
)

# Pillow's names of these formats. The dozens of others that it knows are not
# opened; some of them start other programs.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")

# The largest canvas that is decoded: 16384x16384, which takes 1 GiB as RGBA.
# The largest that WebP and AVIF's decoder allow, above the 200 megapixels of
# the finest cameras. Pillow warns of smaller ones and refuses 179 megapixels.
MAX_PIXELS = 2**28
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

# The largest ratio of a covering image's longer side to the size covered.
_LONGEST = 16

# Pillow refuses PNG files with colour profiles and texts above 1 MiB, which
# photographs may have.
PngImagePlugin.MAX_TEXT_CHUNK = 32 << 20

# An image is decoded or an error; nobody could act on what Pillow remarks on
# its metadata. Here, as filters cannot be set in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadableImageError(ValueError):
    """Bytes that are no complete image, or one without a defined range."""


def decode_image(data: bytes, channels: int) -> Image.Image:
    """Decodes an image of any usual format and mode.

    Transparent images are put on white. 16 bits a channel are scaled to 8:
    greys to the nearest value, colours by their high byte, as Pillow reads
    them. CMYK is converted without a colour profile. The orientation recorded
    by a camera is applied. An animation gives its first frame.

    Args:
        data: Contents of a file of one of the formats of `ENDINGS`.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        `PIL.Image.Image` of mode `L` or `RGB`.

    Raises:
        UnreadableImageError: If the bytes are no complete image of these
            formats, if it has more than `MAX_PIXELS` pixels, or if its values
            are floats or have more than 16 bits, so that white is undefined.
        MemoryError: If there is too little memory.
    """
    # Other packages switch this on, which would make cut files half grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        if image.width * image.height > MAX_PIXELS:
            size = f"{image.width}x{image.height}"
            raise ValueError(f"{size} are more than {MAX_PIXELS:,} pixels")
        image.load()
        image = _eight_bits(ImageOps.exif_transpose(image))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        if image.mode == "LAB":  # Has no conversion to grey.
            image = image.convert("RGB")
        return image.convert("L" if channels == 1 else "RGB")
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError("no known format") from error
    except Exception as error:  # Decoders raise exceptions of any type.
        reason = one_line(error) or type(error).__name__
        raise UnreadableImageError(reason) from error


def _eight_bits(image):
    """An image of 8 bits a channel; 16-bit greys are scaled by 1 / 257."""
    if image.mode == "F":
        raise ValueError("float values have no defined range")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("values of more than 16 bits")
    clear = image.info.get("transparency")
    if clear is not None:
        values = np.where(values == clear, 65535, values)
    nearest = (values.astype("uint32") + 128) // 257
    return Image.fromarray(nearest.astype("uint8"))


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

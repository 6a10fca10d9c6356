"""Images and grids of images as PNG files."""

import io

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

from vqvae2_tf.files import atomic

_GAP = 2
_FONT_SIZE = 14


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Images as a screen shows them.

    Args:
        images: `[..., H, W, C]` float in [-1, 1]; clipped.

    Returns:
        uint8 of the same shape.
    """
    images = np.clip(np.asarray(images, "float32"), -1.0, 1.0)
    return np.round((images + 1.0) * 127.5).astype("uint8")


def to_rgb(images: np.ndarray) -> np.ndarray:
    """Images of three channels out of those of one or three."""
    if images.shape[-1] == 3:
        return images
    return np.repeat(images, 3, axis=-1)


def save_image(path: str, image: np.ndarray) -> None:
    """Writes one image as a PNG, whole or not at all.

    Args:
        path: Path of the PNG.
        image: `[H, W, C]` float in [-1, 1], C 1 or 3.
    """
    _save(path, _as_pillow(to_uint8(image)))


def load_image(path: str) -> np.ndarray:
    """What `save_image` wrote, as `[H, W, C]` float32 in [-1, 1]."""
    with Image.open(io.BytesIO(atomic.read_bytes(path))) as image:
        return np.atleast_3d(np.asarray(image, "float32") / 127.5 - 1.0)


def save_grid(
    path: str, rows: list[np.ndarray], titles: list[str] | None = None
) -> None:
    """Writes rows of images as one PNG.

    Args:
        path: Path of the PNG.
        rows: As for `draw_grid`.
        titles: As for `draw_grid`.
    """
    _save(path, Image.fromarray(draw_grid(rows, titles)))


def draw_grid(
    rows: list[np.ndarray], titles: list[str] | None = None
) -> np.ndarray:
    """Puts rows of images into one.

    Args:
        rows: List of `[n, H, W, C]` float in [-1, 1], all of one size.
        titles: Optional names of the rows, written to the left of them.

    Returns:
        `[height, width, 3]` uint8.
    """
    height, width = (size + _GAP for size in rows[0].shape[1:3])
    columns = max(len(row) for row in rows)
    font = ImageFont.load_default(_FONT_SIZE)
    left, bottom = _GAP, _GAP + len(rows) * height
    if titles:
        left += round(max(font.getlength(title) for title in titles)) + 8
    canvas = Image.new("RGB", (left + columns * width, bottom), "white")
    draw = ImageDraw.Draw(canvas)
    for i, row in enumerate(rows):
        top = _GAP + i * height
        if titles:
            middle = (4, top + (height - _GAP) / 2)
            draw.text(middle, titles[i], "black", font, anchor="lm")
        for j, pixels in enumerate(to_uint8(row)):
            canvas.paste(_as_pillow(pixels), (left + j * width, top))
    return np.asarray(canvas)


def _as_pillow(pixels):
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _save(path, image):
    data = io.BytesIO()
    image.save(data, format="PNG")
    atomic.write_bytes(path, data.getvalue())

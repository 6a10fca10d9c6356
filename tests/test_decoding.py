"""Pictures of every usual mode."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from vqvae2_tf.data.decoding import BROKEN
from vqvae2_tf.data.decoding import cover
from vqvae2_tf.data.decoding import decode_picture


def encoded(picture, file_format="PNG", **options):
    file = io.BytesIO()
    picture.save(file, format=file_format, **options)
    return file.getvalue()


def decoded(picture, channels=3, **options):
    return np.asarray(decode_picture(encoded(picture, **options), channels))


RED = Image.new("RGB", (4, 3), (255, 0, 0))


@pytest.mark.parametrize(
    ("picture", "options"),
    [
        (RED, {}),
        (RED, {"file_format": "WEBP", "lossless": True}),
        (RED.convert("P", palette=Image.Palette.ADAPTIVE), {}),
        (RED.convert("CMYK"), {"file_format": "TIFF"}),
    ],
    ids=["rgb", "webp", "palette", "cmyk"],
)
def test_colours_of_other_modes_are_kept(picture, options):
    pixels = decoded(picture, **options)
    assert pixels.shape == (3, 4, 3)
    np.testing.assert_allclose(
        pixels, np.broadcast_to([255, 0, 0], (3, 4, 3)), atol=2
    )


def test_transparency_is_put_on_white():
    pixels = decoded(Image.new("RGBA", (2, 2), (0, 0, 0, 0)))
    assert (pixels == 255).all()
    half = decoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128)))
    np.testing.assert_allclose(half, 127, atol=1)


def test_sixteen_bit_greys_are_scaled():
    values = np.array([[0, 257 * 100, 65535]], "uint16")
    pixels = decoded(Image.fromarray(values), channels=1)
    np.testing.assert_array_equal(pixels, [[0, 100, 255]])


def test_the_cameras_orientation_is_applied():
    picture = Image.new("RGB", (4, 2))
    exif = picture.getexif()
    exif[0x0112] = 6
    pixels = decoded(picture, file_format="JPEG", exif=exif)
    assert pixels.shape == (4, 2, 3)


def test_a_truncated_file_is_an_error():
    noise = np.random.default_rng(0).integers(256, size=(32, 32, 3))
    data = encoded(Image.fromarray(noise.astype("uint8")))
    with pytest.raises((OSError, SyntaxError)):
        decode_picture(data[: len(data) // 2], 3)


def test_camera_data_of_a_wrong_type_are_an_error_of_the_file():
    # Orientation, a number; and the picture's width, but as text.
    fields = ((0x0112, 3, 1, b"\6\0\0\0"), (0x0100, 2, 4, b"abc\0"))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(fields))
    exif += b"".join(struct.pack("<HHI4s", *field) for field in fields)
    data = encoded(RED, file_format="JPEG", exif=exif + bytes(4))
    with pytest.raises(BROKEN):
        decode_picture(data, 3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((10, 20), (8, 16)), ((100, 50), (16, 8)), ((8, 8), (8, 8))],
)
def test_cover_keeps_the_shape(size, expected):
    height, width = size
    picture = cover(Image.new("L", (width, height)), (8, 8))
    assert (picture.height, picture.width) == expected

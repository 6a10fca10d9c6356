"""Images of every usual mode."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from PIL import ImageFile

from vqvae2_tf.data.decoding import ENDINGS
from vqvae2_tf.data.decoding import UnreadableImageError
from vqvae2_tf.data.decoding import cover
from vqvae2_tf.data.decoding import decode_image

# Pillow's; the filters of a program are not pytest's.
pytestmark = pytest.mark.filterwarnings("ignore")


def encoded(image, file_format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format=file_format, **options)
    return file.getvalue()


def decoded(image, channels=3, **options):
    return np.asarray(decode_image(encoded(image, **options), channels))


RED = Image.new("RGB", (4, 3), (255, 0, 0))


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_of_all_endings_are_read(ending):
    file_format = Image.registered_extensions()[ending]
    pixels = decoded(RED, file_format=file_format).astype(int)
    assert np.abs(pixels - [255, 0, 0]).max() <= 2


def test_photographs_of_two_images_give_the_first():
    other = Image.new("RGB", RED.size, "blue")
    options = {"save_all": True, "append_images": [other]}
    data = encoded(RED, "MPO", **options)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    pixels = np.asarray(decode_image(data, 3)).astype(int)
    assert np.abs(pixels - [255, 0, 0]).max() <= 2


@pytest.mark.parametrize(
    "file_format", ["EPS", "ICO", "JPEG2000", "PDF", "PPM"]
)
def test_other_formats_are_not_opened(file_format, monkeypatch):
    Image.init()
    opened = []
    for name, (_, accept) in dict(Image.OPEN).items():
        entry = (lambda *_, name=name: opened.append(name), accept)
        monkeypatch.setitem(Image.OPEN, name, entry)
    with pytest.raises(UnreadableImageError, match="^no known format$"):
        decode_image(encoded(RED.resize((32, 32)), file_format), 3)
    assert not opened


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (RED, {}),
        (RED, {"file_format": "WEBP", "lossless": True}),
        (RED.convert("P", palette=Image.Palette.ADAPTIVE), {}),
        (RED.convert("CMYK"), {"file_format": "TIFF"}),
    ],
    ids=["rgb", "webp", "palette", "cmyk"],
)
def test_colours_of_other_modes_are_kept(image, options):
    pixels = decoded(image, **options)
    assert pixels.shape == (3, 4, 3)
    np.testing.assert_allclose(
        pixels, np.broadcast_to([255, 0, 0], (3, 4, 3)), atol=2
    )


def test_cmyk_jpegs_have_the_colours_that_were_put_in():
    colours = Image.new("RGB", (48, 16), (200, 30, 60))
    colours.paste((20, 120, 200), (16, 0, 32, 16))
    colours.paste((240, 230, 90), (32, 0, 48, 16))
    data = encoded(colours.convert("CMYK"), "JPEG", quality=95)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    pixels = np.asarray(decode_image(data, 3)).astype(int)
    assert (
        np.abs(pixels[4:-4, 4:-4] - np.asarray(colours)[4:-4, 4:-4]).max() < 9
    )
    # TensorFlow's decoder, which later reads what TFDS keeps as it is, agrees.
    other = tf.io.decode_jpeg(data, 3).numpy()
    assert np.abs(pixels - other).max() <= 2


def clear_palette():
    """Left half index 0, which is clear; right half blue."""
    image = Image.new("P", (4, 2), 0)
    image.putpalette([0, 0, 0, 0, 0, 255])
    image.paste(1, (2, 0, 4, 2))
    return image


def by_key():
    """The same with a colour that means clear."""
    image = Image.new("RGB", (4, 2), (1, 2, 3))
    image.paste((0, 0, 255), (2, 0, 4, 2))
    return image


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (clear_palette(), {"transparency": 0}),
        (clear_palette(), {"file_format": "GIF", "transparency": 0}),
        (by_key(), {"transparency": (1, 2, 3)}),
    ],
    ids=["palette", "gif", "colour key"],
)
def test_clear_palette_entries_and_colours_are_white(image, options):
    pixels = decoded(image, **options)
    assert (pixels[:, :2] == 255).all()
    assert (pixels[:, 2:] == [0, 0, 255]).all()


def test_transparency_is_put_on_white():
    pixels = decoded(Image.new("RGBA", (2, 2), (0, 0, 0, 0)))
    assert (pixels == 255).all()
    half = decoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128)))
    np.testing.assert_allclose(half, 127, atol=1)
    grey = decoded(Image.new("LA", (2, 2), (100, 51)), channels=1)
    np.testing.assert_allclose(grey, 0.2 * 100 + 0.8 * 255, atol=1)


def test_sixteen_bit_greys_are_scaled_to_the_nearest():
    values = np.arange(65536, dtype="uint16").reshape(256, 256)
    pixels = decoded(Image.fromarray(values), channels=1)
    exact = values * (255 / 65535)
    assert np.abs(pixels - exact).max() <= 0.5
    tiff = decoded(Image.fromarray(values), channels=1, file_format="TIFF")
    np.testing.assert_array_equal(tiff, pixels)


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_colours_are_scaled(channels):
    values = np.full((4, 5, channels), 65535, "uint16")
    values[..., :3] = np.arange(60).reshape(4, 5, 3) * 1100
    data = tf.io.encode_png(values).numpy()
    pixels = np.asarray(decode_image(data, 3))
    exact = values[..., :3] * (255 / 65535)
    assert np.abs(pixels - exact).max() <= 1


def test_sixteen_bit_greys_may_have_a_clear_value():
    values = np.array([[0, 258, 259], [65535, 258, 1]], "uint16")
    pixels = decoded(Image.fromarray(values), channels=1, transparency=258)
    np.testing.assert_array_equal(pixels, [[0, 255, 1], [255, 255, 0]])


def test_lab_becomes_grey():
    lightness = Image.fromarray(np.array([[0, 255]], "uint8"))
    none = Image.new("L", lightness.size, 128)
    image = Image.merge("LAB", [lightness, none, none])
    pixels = decoded(image, channels=1, file_format="TIFF").astype(int)
    assert np.abs(pixels - [0, 255]).max() <= 1


def test_long_colour_profiles_are_no_damage():
    pixels = decoded(RED, icc_profile=bytes(2 << 20))
    assert (pixels == [255, 0, 0]).all()


@pytest.mark.parametrize(
    "values",
    [np.full((2, 2), 0.5, "float32"), np.full((2, 2), 70_000, "int32")],
    ids=["floats", "more than 16 bits"],
)
def test_values_without_a_range_are_refused(values):
    data = encoded(Image.fromarray(values), "TIFF")
    with pytest.raises(UnreadableImageError):
        decode_image(data, 3)


def test_the_cameras_orientation_is_applied():
    image = Image.new("RGB", (4, 2))
    exif = image.getexif()
    exif[0x0112] = 6
    pixels = decoded(image, file_format="JPEG", exif=exif)
    assert pixels.shape == (4, 2, 3)


NOISE = Image.fromarray(
    np.random.default_rng(0).integers(256, size=(32, 32, 3)).astype("uint8")
)


@pytest.mark.parametrize(
    "file_format", ["AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP"]
)
def test_truncated_and_empty_files_are_refused(file_format, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(NOISE, file_format)
    whole = np.asarray(decode_image(data, 3))
    for length in (0, 20, *range(30, len(data), 41)):
        try:
            pixels = np.asarray(decode_image(data[:length], 3))
        except UnreadableImageError:
            continue
        # What is missing is no part of the pixels.
        assert length > 0.9 * len(data)
        np.testing.assert_array_equal(pixels, whole)


def png_of_size(width, height):
    """A PNG file that claims a size and has no pixels."""
    data = bytearray(encoded(RED))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


class DecodingBeganError(Exception):
    """Raised in place of decoding."""


@pytest.mark.parametrize(
    ("size", "is_too_large"),
    [
        ((60_000, 60_000), True),
        ((2**14, 2**14 + 1), True),
        ((2**14, 2**14), False),
        ((10_000, 10_000), False),
    ],
)
def test_too_large_images_are_refused_before_decoding(
    size, is_too_large, monkeypatch
):
    def load(self):
        raise DecodingBeganError

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    words = "pixels" if is_too_large else "DecodingBegan"
    with pytest.raises(UnreadableImageError, match=words):
        decode_image(png_of_size(*size), 3)


@pytest.mark.parametrize("error", [KeyError, RuntimeError, RecursionError])
def test_whatever_a_decoder_raises_is_an_error_of_the_file(error, monkeypatch):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(UnreadableImageError, match=error.__name__):
        decode_image(encoded(RED), 3)


def test_a_full_memory_is_no_error_of_the_file(monkeypatch):
    def fail(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(MemoryError):
        decode_image(encoded(RED), 3)


def test_pillows_warnings_are_off(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_of_size(20_000, 20_000))
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(path.read_bytes()))
    program = f"""
from vqvae2_tf.data import decoding
try:
    decoding.decode_image(open({str(path)!r}, "rb").read(), 3)
except decoding.UnreadableImageError:
    print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("refused\n", "")


def test_camera_data_of_a_wrong_type_are_an_error_of_the_file():
    # Orientation, a number; and the image's width, but as text.
    fields = ((0x0112, 3, 1, b"\6\0\0\0"), (0x0100, 2, 4, b"abc\0"))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(fields))
    exif += b"".join(struct.pack("<HHI4s", *field) for field in fields)
    data = encoded(RED, file_format="JPEG", exif=exif + bytes(4))
    with pytest.raises(UnreadableImageError):
        decode_image(data, 3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((10, 20), (8, 16)), ((100, 50), (16, 8)), ((8, 8), (8, 8))],
)
def test_cover_keeps_the_shape(size, expected):
    height, width = size
    image = cover(Image.new("L", (width, height)), (8, 8))
    assert (image.height, image.width) == expected


def test_long_strips_are_cut():
    strip = np.zeros((2, 1000, 3), "uint8")
    strip[:, 500] = 255
    covered = cover(Image.fromarray(strip), (4, 4))
    assert covered.size == (64, 4)
    assert np.asarray(covered)[:, 32].min() > 50
    whole = cover(Image.fromarray(strip[:, :32]), (4, 4))
    assert whole.size == (64, 4)

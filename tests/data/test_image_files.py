"""Images as the scripts read them."""

import numpy as np
import pytest
from PIL import Image

from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.batches import image_examples
from vqvae2_tf.data.batches import with_ids
from vqvae2_tf.data.image_files import read_image
from vqvae2_tf.data.source import open_source
from vqvae2_tf.errors import UserError


def write_images_of_all_modes(folder):
    """Writes images of all modes and formats; returns their number."""
    rng = np.random.default_rng(0)

    def noise(*shape, dtype="uint8"):
        largest = np.iinfo(dtype).max
        values = rng.integers(largest, size=shape, endpoint=True)
        return Image.fromarray(values.astype(dtype))

    rgb, rgba = noise(30, 41, 3), noise(9, 7, 4)
    turned = rgb.getexif()
    turned[0x0112] = 6
    palette = rgb.quantize(16)
    images = [
        ("rgb.png", rgb, {}),
        ("size.png", noise(8, 12, 3), {}),
        ("1.png", rgb.convert("1"), {}),
        ("l.png", rgb.convert("L"), {}),
        ("la.png", rgba.convert("LA"), {}),
        ("la.tif", rgba.convert("LA"), {}),
        ("pa.tif", rgba.convert("LA").convert("PA"), {}),
        ("rgba.png", rgba, {}),
        ("rgba.tiff", rgba, {}),
        ("rgba.webp", rgba, {"lossless": True}),
        ("rgba.avif", rgba, {}),
        ("p.png", palette, {}),
        ("clear.png", palette, {"transparency": 3}),
        ("alpha.png", palette, {"transparency": bytes(range(0, 256, 16))}),
        ("clear.gif", palette, {"transparency": 3}),
        ("key.png", rgb, {"transparency": rgb.getpixel((0, 0))}),
        ("p.bmp", palette, {}),
        ("rgb.bmp", rgb, {}),
        ("i16.png", noise(30, 41, dtype="uint16"), {}),
        ("i16.tif", noise(30, 41, dtype="uint16"), {}),
        ("cmyk.jpg", rgb.convert("CMYK"), {}),
        ("cmyk.tif", rgb.convert("CMYK"), {}),
        ("ycbcr.tif", rgb.convert("YCbCr"), {"compression": "tiff_lzw"}),
        ("lab.tif", Image.merge("LAB", rgb.split()), {}),
        ("l.jpeg", rgb.convert("L"), {}),
        ("turned.jpe", rgb, {"exif": turned}),
        ("turned.png", rgb, {"exif": turned}),
        ("turned.tif", rgb, {"exif": turned}),
        ("turned.webp", rgb, {"exif": turned}),
        ("turned.avif", rgb, {"exif": turned}),
    ]
    for name, image, options in images:
        image.save(folder / name, **options)
    return len(images)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_all_modes_are_read_as_in_training(tmp_path, channels):
    folder = tmp_path / "p"
    folder.mkdir()
    count = write_images_of_all_modes(folder)
    source = open_source(
        f"folder:{folder}", str(tmp_path / "tfds"), (8, 12), channels
    )
    source.prepare()
    assert "cannot be decoded" not in source.describe()
    in_training = {}
    for split in ("train", "validation"):
        examples = with_ids(image_examples(source, split, (8, 12), channels))
        for batch in evaluation_batches(examples, 1):
            (name,) = batch["id"].numpy()
            in_training[name.decode()] = batch["image"][0].numpy()
    assert len(in_training) == count
    for name, expected in in_training.items():
        image = read_image(str(folder / name), (8, 12), channels)
        assert image.dtype == np.float32
        np.testing.assert_allclose(image, expected, atol=1e-6, err_msg=name)
        # Nothing became black or white as a whole.
        assert image.std() > 0.01, name


@pytest.mark.parametrize("data", [b"", b"no image", None])
def test_what_is_no_image_is_a_user_error(tmp_path, data):
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 40), "red").save(path)
    path.write_bytes(path.read_bytes()[:60] if data is None else data)
    with pytest.raises(UserError) as caught:
        read_image(str(path), (8, 8), 3)
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)

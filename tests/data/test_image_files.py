"""Images as the scripts read them."""

import numpy as np
import pytest
from PIL import Image

from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.batches import image_examples
from vqvae2_tf.data.decoding import ENDINGS
from vqvae2_tf.data.image_files import read_image
from vqvae2_tf.data.source import open_source
from vqvae2_tf.errors import UserError
from vqvae2_tf.files.listing import list_files


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_read_as_in_training(tmp_path, channels):
    folder = tmp_path / "p"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (
        ("a.png", (30, 41)),
        ("b.bmp", (9, 7)),
        ("c.png", (8, 12)),
    ):
        pixels = rng.integers(256, size=(*shape, 3)).astype("uint8")
        Image.fromarray(pixels).save(folder / name)
    source = open_source(
        f"folder:{folder}", str(tmp_path / "tfds"), (8, 12), channels
    )
    source.prepare()
    in_training = []
    for split in ("train", "validation"):
        examples = image_examples(source, split, (8, 12), channels)
        for batch in evaluation_batches(examples, 1):
            in_training.append(batch["image"][0].numpy())
    paths = list_files(str(folder), ENDINGS).paths
    assert paths == ["a.png", "b.bmp", "c.png"]
    for path in paths:
        image = read_image(str(folder / path), (8, 12), channels)
        assert image.dtype == np.float32
        assert min(np.abs(image - other).max() for other in in_training) < 1e-6


@pytest.mark.parametrize("data", [b"", b"no image", None])
def test_what_is_no_image_is_a_user_error(tmp_path, data):
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 40), "red").save(path)
    path.write_bytes(path.read_bytes()[:60] if data is None else data)
    with pytest.raises(UserError) as caught:
        read_image(str(path), (8, 8), 3)
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)

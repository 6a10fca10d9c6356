"""Codes of another tokenizer in place of an autoencoder."""

import keras
import numpy as np
import pytest

from tests.helpers import array
from tests.helpers import integers
from vqvae2_tf.autoencoders import External
from vqvae2_tf.autoencoders.external import flag_lines
from vqvae2_tf.level import Level

pytestmark = pytest.mark.any_backend

LEVELS = [Level("top", 2, 3, 5), Level("bottom", 4, 3, 70_000)]
TEXTS = ["top:2x3:5", "bottom:4x3:70000"]


def test_flags_give_the_levels():
    name, levels = flag_lines(LEVELS)
    assert name == "--autoencoder=external"
    assert levels == f"--code_levels={','.join(TEXTS)}"
    for size in ((256, 256), (0, 0)):
        assert External(TEXTS).levels(size) == LEVELS


@pytest.mark.parametrize(
    "text",
    ["top", "top:2x3", "top:2x3:0", "top:0x3:4", "top:2:4", "a b:2x3:4", ""],
)
def test_another_description_is_refused(text):
    with pytest.raises(ValueError, match=f"`code_levels`.* Received: {text}$"):
        External([text])
    with pytest.raises(ValueError, match="`code_levels` must hold one"):
        External([])


def test_an_image_shows_a_tile_a_code():
    model = External(TEXTS[:1])
    codes = integers(5, 7, 2, 3)
    codes[0, 0, 1] = -1
    images = array(model.decode([codes]))
    assert images.shape == (7, 16, 24, 3)
    tiles = images.reshape(7, 2, 8, 3, 8, 3)
    colours = tiles[:, :, 0, :, 0]
    np.testing.assert_array_equal(
        tiles, np.broadcast_to(colours[:, :, None, :, None], tiles.shape)
    )
    assert not colours[codes < 0].any()
    found = {code: {*map(tuple, colours[codes == code])} for code in range(5)}
    assert all(len(own) == 1 for own in found.values())
    assert len(set.union(*found.values())) == 5
    assert np.abs(colours).max() <= 1


def test_several_levels_are_shown_by_their_mean():
    top, bottom = integers(5, 2, 2, 3), integers(70_000, 2, 4, 3)
    unknown = [np.full_like(codes, -1) for codes in (top, bottom)]
    model = External(TEXTS)
    both, coarse, fine = (
        array(model.decode(codes))
        for codes in (
            [top, bottom],
            [top, unknown[1]],
            [unknown[0], bottom],
        )
    )
    np.testing.assert_allclose(both, coarse + fine, atol=1e-6)
    alone = array(External(TEXTS[:1]).decode([top]))
    # Half of its colours, on twice as many rows.
    np.testing.assert_allclose(coarse, np.repeat(alone, 2, 1) / 2, atol=1e-6)


def test_codes_out_of_range_are_refused():
    with pytest.raises(ValueError, match="`top`: .* at most 4. Received: 5"):
        External(TEXTS[:1]).decode([np.full((1, 2, 3), 5)])


def test_it_is_saved_and_loaded(tmp_path):
    model = External(TEXTS, "decoder", channels=1, seed=3)
    model.build((None, 256, 256, 1))
    assert model.count_params() == 0
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.levels((1, 1)) == LEVELS
    assert loaded.saved_decoder == "decoder"
    images = loaded.decode([integers(5, 2, 2, 3), integers(5, 2, 4, 3)])
    assert images.shape == (2, 32, 24, 1)

"""Tests of `ContributionDecoder`, against NumPy."""

import pytest

from tests.helpers import array
from tests.helpers import assert_close
from tests.helpers import build
from tests.helpers import conv2d
from tests.helpers import conv2d_transpose
from tests.helpers import normal
from tests.helpers import relu
from tests.helpers import run
from vqvae2_tf.layers import ContributionDecoder

pytestmark = pytest.mark.any_backend


@pytest.mark.parametrize("next_stride", [1, 2, 4])
def test_equals_numpy(next_stride):
    x = normal(2, 3, 4, 5)
    layer = build(ContributionDecoder(8, next_stride, 3, 24, 1), x)
    expected = array(layer.residual_stack(conv2d(x, layer.conv)))
    maps = {1: expected}
    first, second, last = layer.upsampling_convs
    maps[2] = relu(conv2d_transpose(maps[1], first))
    maps[4] = relu(conv2d_transpose(maps[2], second))
    image = conv2d_transpose(maps[4], last)
    assert image.shape == (2, 24, 32, 3)
    # Halves of 24, but not below 8.
    assert [maps[i].shape[-1] for i in (1, 2, 4)] == [24, 12, 8]
    expected = (maps[next_stride].astype("float32"), image.astype("float32"))
    assert_close(run(layer, x), expected, 1e-4, 1e-4)


@pytest.mark.parametrize(
    ("strides", "message"),
    [
        ((6, 2), "powers of two"),
        ((1, 1), "at least 2.*1, 1"),
        ((4, 8), "divide it.*4, 8"),
    ],
)
def test_other_strides_are_refused(strides, message):
    with pytest.raises(ValueError, match=message):
        ContributionDecoder(*strides, 3, 8, 1)

"""Tests of `Encoder`, `Decoder` and `Upsampler`, each other's mirror."""

import numpy as np
import pytest

from tests.helpers import array
from tests.helpers import build
from tests.helpers import check_bfloat16
from tests.helpers import check_compiled
from tests.helpers import conv2d
from tests.helpers import conv2d_transpose
from tests.helpers import normal
from tests.helpers import relu
from tests.helpers import run
from tests.layers.test_residual_stack import numpy_residual_stack
from vqvae2_tf.layers import Decoder
from vqvae2_tf.layers import Encoder
from vqvae2_tf.layers import Upsampler

pytestmark = pytest.mark.any_backend

WIDTHS = {"hidden_units": 8, "residual_units": 4, "residual_layers": 2}


def numpy_encoder(layer, x):
    for conv in layer.strided_convs:
        x = relu(conv2d(x, conv, stride=2))
    return numpy_residual_stack(layer.residual_stack, conv2d(x, layer.conv))


def numpy_upsampler(layer, x):
    *inner, last = layer.convs
    if layer.stride == 1:
        return conv2d(x, last)
    for conv in inner:
        x = relu(conv2d_transpose(x, conv))
    return conv2d_transpose(x, last)


def numpy_decoder(layer, x):
    x = numpy_residual_stack(layer.residual_stack, conv2d(x, layer.conv))
    return numpy_upsampler(layer.upsampler, x)


def check_numpy(layer, numpy_function, x, output_shape):
    build(layer, x)
    y = array(run(layer, x))
    assert y.shape == output_shape
    np.testing.assert_allclose(
        y, numpy_function(layer, x), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_encoder_equals_numpy(stride):
    layer = Encoder(stride, **WIDTHS)
    x = normal(2, 2 * stride, 3 * stride, 3)
    check_numpy(layer, numpy_encoder, x, (2, 2, 3, 8))


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_decoder_equals_numpy(stride):
    layer = Decoder(stride, 3, **WIDTHS)
    check_numpy(
        layer, numpy_decoder, normal(2, 2, 3, 5), (2, 2 * stride, 3 * stride, 3)
    )


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_upsampler_equals_numpy(stride):
    layer = Upsampler(stride, 5, 8)
    check_numpy(
        layer,
        numpy_upsampler,
        normal(2, 2, 3, 4),
        (2, 2 * stride, 3 * stride, 5),
    )


@pytest.mark.parametrize(
    ("stride", "widths"), [(2, [4]), (4, [4, 8]), (8, [4, 8, 8])]
)
def test_encoder_widths(stride, widths):
    layer = Encoder(stride, **WIDTHS)
    build(layer, normal(1, 8, 8, 3))
    shapes = [conv.kernel.shape for conv in layer.strided_convs]
    assert [s[:2] for s in shapes] == [(4, 4)] * len(widths)
    assert [s[-1] for s in shapes] == widths
    assert tuple(layer.conv.kernel.shape) == (3, 3, widths[-1], 8)


@pytest.mark.parametrize(
    ("stride", "widths"), [(2, [5]), (4, [4, 5]), (8, [8, 4, 5])]
)
def test_upsampler_mirrors_the_encoders_widths(stride, widths):
    layer = Upsampler(stride, 5, 8)
    build(layer, normal(1, 1, 1, 8))
    shapes = [conv.kernel.shape for conv in layer.convs]
    assert [s[:2] for s in shapes] == [(4, 4)] * len(widths)
    assert [s[2] for s in shapes] == widths


def test_upsampling_by_1_is_a_1x1_convolution():
    layer = build(Upsampler(1, 5, 8), normal(1, 2, 3, 4))
    assert [w.shape for w in layer.weights] == [(1, 1, 4, 5), (5,)]


def test_encoder_ends_in_relu():
    x = normal(2, 4, 6, 3)
    y = array(run(build(Encoder(2, **WIDTHS), x), x))
    assert y.min() == 0
    assert y.max() > 0


def test_decoder_output_is_not_bounded():
    x = 100 * normal(2, 4, 6, 3)
    y = array(run(build(Decoder(2, 3, **WIDTHS), x), x))
    assert y.min() < -1
    assert y.max() > 1


@pytest.mark.parametrize("stride", [-2, 0, 3, 6])
@pytest.mark.parametrize(
    "make",
    [
        lambda stride: Encoder(stride, **WIDTHS),
        lambda stride: Decoder(stride, 3, **WIDTHS),
        lambda stride: Upsampler(stride, 3, 8),
    ],
)
def test_stride_must_be_a_power_of_two(make, stride):
    with pytest.raises(ValueError, match=f"powers of two.* {stride}"):
        make(stride)


@pytest.mark.parametrize(
    "make",
    [
        lambda **policy: Encoder(4, **WIDTHS, **policy),
        lambda **policy: Decoder(4, 5, **WIDTHS, **policy),
        lambda **policy: Upsampler(4, 5, 8, **policy),
    ],
)
class TestModes:
    def test_compiled_equals_eager(self, make):
        check_compiled(make(), normal(2, 4, 8, 3))

    def test_bfloat16_is_close(self, make):
        check_bfloat16(make, normal(2, 4, 8, 3))

"""Tests of `CausalConv2D`."""

import numpy as np
import pytest

from tests.helpers import array
from tests.helpers import build
from tests.helpers import causal_pattern
from tests.helpers import check_bfloat16
from tests.helpers import check_compiled
from tests.helpers import dense_conv2d
from tests.helpers import jacobian_pattern
from tests.helpers import normal
from tests.helpers import run
from vqvae2_tf.layers import CausalConv2D

pytestmark = pytest.mark.any_backend

SIZES = [(1, False), (3, False), (5, False), (7, False)]
SIZES += [(3, True), (5, True), (7, True)]


def live_taps(kernel_size, strict):
    """PixelCNN's mask A (`strict`) or B, `[k, k]` bool."""
    center = kernel_size * kernel_size // 2
    taps = np.arange(kernel_size * kernel_size)
    mask = taps < center if strict else taps <= center
    return mask.reshape(kernel_size, kernel_size)


def built(kernel_size, strict, x):
    return build(CausalConv2D(4, kernel_size, strict), x)


@pytest.mark.parametrize(("kernel_size", "strict"), SIZES)
def test_equals_a_masked_dense_convolution(kernel_size, strict):
    x = normal(2, 5, 7, 3)
    layer = built(kernel_size, strict, x)
    r = kernel_size // 2
    kernel = np.zeros((kernel_size, kernel_size, 3, 4))
    if r:
        kernel[:r] = array(layer.above_kernel)
    row = array(layer.row_kernel)[0]
    kernel[r, : len(row)] = row
    live = np.any(kernel != 0, axis=(2, 3))
    np.testing.assert_array_equal(live, live_taps(kernel_size, strict))
    np.testing.assert_allclose(
        run(layer, x),
        dense_conv2d(x, kernel) + array(layer.bias),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(("kernel_size", "strict"), SIZES)
@pytest.mark.parametrize("size", [(5, 7), (7, 5), (1, 4)])
def test_sees_exactly_the_live_taps(kernel_size, strict, size):
    x = normal(*size, 3)
    layer = built(kernel_size, strict, x[None])
    np.testing.assert_array_equal(
        jacobian_pattern(layer, x), causal_pattern(*size, kernel_size, strict)
    )


@pytest.mark.parametrize(
    ("kernel_size", "strict", "taps"),
    [(1, False, 1), (3, False, 5), (5, False, 13), (5, True, 12)],
)
def test_stores_only_the_live_taps(kernel_size, strict, taps):
    layer = built(kernel_size, strict, normal(1, 4, 4, 3))
    assert layer.count_params() == taps * 3 * 4 + 4


def test_initial_variance_is_glorots_over_all_taps():
    layer = CausalConv2D(64, 5)
    layer.build((None, None, None, 64))
    expected = 2 / (13 * (64 + 64))
    for kernel in (layer.above_kernel, layer.row_kernel):
        assert np.var(array(kernel)) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("kernel_size", "strict"), [(0, False), (2, False), (4, True), (1, True)]
)
def test_bad_kernel_size_raises(kernel_size, strict):
    with pytest.raises(ValueError, match="kernel_size"):
        CausalConv2D(4, kernel_size, strict)


@pytest.mark.parametrize(("kernel_size", "strict"), [(1, False), (5, True)])
def test_compiled_equals_eager(kernel_size, strict):
    check_compiled(CausalConv2D(4, kernel_size, strict), normal(2, 3, 5, 6))


def test_bfloat16_is_close():
    check_bfloat16(
        lambda **policy: CausalConv2D(4, 5, **policy), normal(2, 3, 5, 6)
    )

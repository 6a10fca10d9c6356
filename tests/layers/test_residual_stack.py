"""Tests of `ResidualStack`."""

import numpy as np
import pytest

from tests.helpers import array
from tests.helpers import build
from tests.helpers import check_bfloat16
from tests.helpers import check_compiled
from tests.helpers import conv2d
from tests.helpers import normal
from tests.helpers import relu
from tests.helpers import run
from vqvae2_tf.layers import ResidualStack

pytestmark = pytest.mark.any_backend


def numpy_residual_stack(layer, x):
    for inner, outer in zip(layer.inner_convs, layer.outer_convs, strict=True):
        x = x + conv2d(relu(conv2d(relu(x), inner)), outer)
    return relu(x)


@pytest.mark.parametrize("residual_layers", [0, 1, 3])
def test_equals_numpy(residual_layers):
    x = normal(2, 3, 5, 6)
    layer = build(ResidualStack(6, 4, residual_layers), x)
    np.testing.assert_allclose(
        run(layer, x), numpy_residual_stack(layer, x), rtol=1e-4, atol=1e-4
    )


def test_output_is_not_negative():
    x = normal(2, 3, 5, 6)
    y = array(run(build(ResidualStack(6, 4, 2), x), x))
    assert y.min() == 0
    assert y.max() > 0


def test_inner_convolutions_are_3x3_of_residual_units():
    layer = build(ResidualStack(6, 4, 2), normal(1, 3, 5, 6))
    shapes = [tuple(w.shape) for w in layer.weights if len(w.shape) == 4]
    assert sorted(shapes) == [(1, 1, 4, 6)] * 2 + [(3, 3, 6, 4)] * 2


def test_compiled_equals_eager():
    check_compiled(ResidualStack(6, 4, 2), normal(2, 3, 5, 6))


def test_bfloat16_is_close():
    check_bfloat16(
        lambda **policy: ResidualStack(6, 4, 2, **policy), normal(2, 3, 5, 6)
    )

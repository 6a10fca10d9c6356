"""Tests of `ConditioningStack` and `BottleneckBlock`."""

import numpy as np
import pytest

from tests.helpers import array
from tests.helpers import arrays
from tests.helpers import build
from tests.helpers import check_bfloat16
from tests.helpers import check_compiled
from tests.helpers import compiled
from tests.helpers import conv2d
from tests.helpers import conv2d_transpose
from tests.helpers import jacobian_pattern
from tests.helpers import normal
from tests.helpers import relu
from tests.helpers import run
from vqvae2_tf.layers import BottleneckBlock
from vqvae2_tf.layers import ConditioningStack

pytestmark = pytest.mark.any_backend


def batch_norm(x, norm, training):
    gamma, beta, mean, variance = arrays(
        [norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance]
    )
    if training:
        mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    return (x - mean) / np.sqrt(variance + norm.epsilon) * gamma + beta


def resnet_block(h, block, training=False):
    """Lines 1 to 9 of the supplement's pseudocode."""
    h = batch_norm(h, block.norm, training)
    h = conv2d(relu(h), block.first_conv)
    h = conv2d(relu(h), block.second_conv)
    return conv2d(relu(h), block.third_conv)


def conditioning_stack(h, layer, training=False):
    """Lines 11 to 28, on maps of any size."""

    def cropped(x, like):
        return x[:, : like.shape[1], : like.shape[2]]

    h = conv2d(h, layer.entry)
    for block in layer.down_blocks:
        h = h + resnet_block(h, block, training)
    h2 = conv2d(h, layer.down, stride=2)
    for block in layer.half_down_blocks:
        h2 = h2 + resnet_block(h2, block, training)
    h3 = conv2d(h2, layer.half_down, stride=2)
    for block in layer.quarter_blocks:
        h3 = h3 + resnet_block(h3, block, training)
    h2 = h2 + cropped(conv2d_transpose(h3, layer.half_up), h2)
    for block in layer.half_up_blocks:
        h2 = h2 + resnet_block(h2, block, training)
    h = h + cropped(conv2d_transpose(h2, layer.up), h)
    for block in layer.up_blocks:
        h = h + resnet_block(h, block, training)
    return h


@pytest.mark.parametrize("training", [False, True])
def test_block_equals_numpy(training):
    x = normal(2, 3, 5, 8)
    layer = build(BottleneckBlock(4), x)
    expected = resnet_block(x, layer, training)
    np.testing.assert_allclose(
        run(lambda x: layer(x, training=training), x),
        expected,
        rtol=1e-3,
        atol=1e-4,
    )


def test_block_updates_moving_statistics_in_training_only():
    x = 3 + normal(2, 3, 5, 8)
    layer = build(BottleneckBlock(4), x)
    before = layer.norm.get_weights()
    layer(x)
    for old, new in zip(before, layer.norm.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    layer(x, training=True)
    _, _, mean, _ = before
    np.testing.assert_allclose(
        layer.norm.moving_mean,
        0.99 * mean + 0.01 * x.mean(axis=(0, 1, 2)),
        rtol=1e-4,
    )


@pytest.mark.parametrize("size", [(4, 8), (5, 7), (6, 3), (1, 2)])
def test_stack_equals_the_pseudocode(size):
    x = normal(2, *size, 5)
    layer = build(ConditioningStack(8, 3), x)
    y = array(run(layer, x))
    assert y.shape == (2, *size, 8)
    np.testing.assert_allclose(
        y, conditioning_stack(x, layer), rtol=1e-3, atol=1e-3
    )


def test_stack_passes_training_to_every_block():
    x = normal(2, 4, 8, 5)
    layer = build(ConditioningStack(8, 2), x)
    variances = [v for v in layer.weights if v.name == "moving_variance"]
    before = arrays(variances)
    compiled(lambda x: layer(x, training=True), layer)(x)
    assert len(variances) == 6
    for old, new in zip(before, arrays(variances), strict=True):
        assert np.all(old != new)


def test_paper_widths():
    layer = ConditioningStack(1024, 20)
    stages = [
        (layer.down_blocks, 10, 256),
        (layer.half_down_blocks, 10, 512),
        (layer.quarter_blocks, 20, 512),
        (layer.half_up_blocks, 10, 512),
        (layer.up_blocks, 10, 256),
    ]
    for blocks, count, inner_units in stages:
        assert [block.first_conv.filters for block in blocks] == [
            inner_units
        ] * count
    convs = [layer.entry, layer.down, layer.half_down, layer.half_up, layer.up]
    widths = [1024, 2048, 2048, 2048, 1024]
    assert [conv.filters for conv in convs] == widths


def test_every_position_sees_the_surrounding_map():
    x = normal(4, 8, 3)
    layer = build(ConditioningStack(8, 4), x[None])
    # Four 3x3 convolutions at quarter resolution.
    assert np.mean(jacobian_pattern(layer, x)) > 0.9


def test_compiled_equals_eager():
    check_compiled(ConditioningStack(8, 2), normal(2, 3, 5, 4))


def test_bfloat16_is_close():
    check_bfloat16(
        lambda **policy: ConditioningStack(8, 2, **policy), normal(2, 3, 5, 4)
    )

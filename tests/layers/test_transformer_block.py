"""Tests of `TransformerBlock`."""

import numpy as np
import pytest
from keras import ops

from tests.helpers import array
from tests.helpers import assert_close
from tests.helpers import build
from tests.helpers import check_bfloat16
from tests.helpers import normal
from tests.helpers import run
from tests.helpers import sigmoid
from tests.helpers import softmax
from tests.helpers import weight_gradients
from vqvae2_tf.layers import TransformerBlock

pytestmark = pytest.mark.any_backend

X = normal(2, 9, 8)


def built(**arguments):
    return build(TransformerBlock(2, 6, **arguments), X, scale=0.6)


def numpy_block(block, x):
    """One token and head at a time, with the block's weights."""

    def norm(layer, x):
        mean_square = np.mean(x**2, axis=-1, keepdims=True)
        return x / np.sqrt(mean_square + 1e-6) * array(layer.scale)

    def times(x, layer):
        return x @ array(layer.kernel)

    qkv = times(norm(block.attention_norm, x), block.qkv_projection)
    attended = np.zeros_like(x)
    for b, t, head in np.ndindex(len(x), x.shape[1], 2):
        part = slice(4 * head, 4 * head + 4)
        q, k, v = (qkv[b, :, 8 * i : 8 * i + 8][:, part] for i in range(3))
        q, k = norm(block.query_norm, q), norm(block.key_norm, k)
        weights = softmax(k[: t + 1] @ q[t] / 2)
        attended[b, t, part] = weights @ v[: t + 1]
    x = x + times(attended, block.output_projection)
    gates = times(norm(block.feed_forward_norm, x), block.gate_projection)
    gate, y = gates[..., :6], gates[..., 6:]
    return x + times(gate * sigmoid(gate) * y, block.down_projection)


def test_equals_numpy():
    block = built()
    assert_close(array(run(block, X)), numpy_block(block, X), 1e-4, 1e-5)


@pytest.mark.parametrize("prefix", [0, 3])
def test_token_by_token_equals_the_call(prefix):
    block = built()
    map_size = (3, (9 - prefix) // 3)

    def incremental(x):
        before, left = None, None
        if prefix:
            before, left = block.prefill(x[:, :prefix])
        state = block.initial_state(2, map_size, left)
        outputs = []
        for row, column in np.ndindex(map_size):
            if column == 0:
                state = block.next_row(state, map_size, row)
            here = x[:, prefix + row * map_size[1] + column]
            y, state = block.step(state, here, map_size, row, column)
            outputs.append(y)
        outputs = ops.stack(outputs, axis=1)
        return ops.concatenate([before, outputs], 1) if prefix else outputs

    assert_close(array(run(incremental, X)), array(run(block, X)), 1e-4, 1e-5)


def test_dropout_is_of_what_is_added():
    block = built(dropout=0.5)
    without = array(run(block, X))
    # Attention adds nothing, so that only the last layer's dropout is seen.
    block.output_projection.kernel.assign(np.zeros((8, 8), "float32"))
    added = array(run(block, X)) - X
    dropped = array(block(X, training=True)) - X
    kept = dropped != 0
    assert 0.2 < np.mean(kept) < 0.8
    assert_close(dropped[kept], 2 * added[kept], 1e-4, 1e-5)
    assert not np.allclose(without, X + added)


@pytest.mark.large
def test_recomputed_gradients_are_the_same():
    def gradients(rematerialize):
        block = built(dropout=0.5, rematerialize=rematerialize)
        block.dropout.seed_generator.state.assign(np.array([1, 0]))
        return weight_gradients(
            lambda: ops.sum(block(X, training=True) ** 2),
            block.trainable_variables,
        )

    # Of gradients up to 80, which processors round in their own order.
    assert_close(gradients(True), gradients(False), 1e-4, 1e-3)


def test_bfloat16_is_close():
    check_bfloat16(lambda **policy: TransformerBlock(2, 6, **policy), X)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="heads=3, width=8"):
        TransformerBlock(3, 6).build((None, None, 8))

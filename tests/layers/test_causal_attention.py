"""Tests of `CausalAttention`."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import BACKEND
from tests.helpers import array
from tests.helpers import assert_close
from tests.helpers import build
from tests.helpers import check_bfloat16
from tests.helpers import check_compiled
from tests.helpers import jacobian_pattern
from tests.helpers import normal
from tests.helpers import run
from tests.helpers import softmax
from tests.helpers import weight_gradients
from vqvae2_tf.layers import CausalAttention
from vqvae2_tf.layers import blockwise_attention
from vqvae2_tf.layers.dropout import dropout

pytestmark = pytest.mark.any_backend

QUERIES = normal(2, 3, 5, 4)
MEMORY = normal(2, 3, 5, 6, seed=1)


def built(*args, **kwargs):
    return build(CausalAttention(*args, **kwargs), QUERIES, MEMORY, scale=0.6)


def numpy_attention(layer, queries, memory):
    """One position and head at a time."""
    q, k, v = (
        x.reshape(2, 15, -1) @ array(dense.kernel) + array(dense.bias)
        for x, dense in [
            (queries, layer.query_projection),
            (memory, layer.key_projection),
            (memory, layer.value_projection),
        ]
    )
    size = layer.units // layer.heads
    y = np.zeros((2, 15, layer.units))
    for b, p, head in np.ndindex(2, 15, layer.heads):
        part = slice(head * size, (head + 1) * size)
        earlier = slice(0, p + 1)
        logits = k[b, earlier, part] @ q[b, p, part] / np.sqrt(size)
        y[b, p, part] = softmax(logits) @ v[b, earlier, part]
    return y.reshape(2, 3, 5, layer.units)


@pytest.mark.parametrize(
    ("heads", "query_block"), [(1, 256), (4, 256), (2, 4), (2, 15), (2, 1)]
)
def test_equals_numpy_whatever_the_query_block(heads, query_block):
    layer = built(8, heads, query_block=query_block)
    np.testing.assert_allclose(
        run(layer, QUERIES, MEMORY),
        numpy_attention(layer, QUERIES, MEMORY),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("query_block", [4, 256])
def test_attends_to_itself_and_all_earlier_positions(query_block):
    layer = built(8, 2, query_block=query_block)
    queries = np.repeat(QUERIES[:1], 15, axis=0)
    memory = np.repeat(MEMORY[:1], 15, axis=0)
    np.testing.assert_array_equal(
        jacobian_pattern(lambda m: layer(queries, m), MEMORY[0]),
        np.tri(15, dtype=bool),
    )
    # The first one's single key has weight one, whatever the query.
    np.testing.assert_array_equal(
        jacobian_pattern(lambda q: layer(q, memory), QUERIES[0])[1:],
        np.eye(15, dtype=bool)[1:],
    )


def test_first_position_attends_to_itself_only():
    layer = built(8, 2)
    values = run(layer.value_projection, MEMORY)
    np.testing.assert_allclose(
        run(layer, QUERIES, MEMORY)[:, 0, 0], values[:, 0, 0], rtol=1e-5
    )


def test_dropout_acts_on_the_logits_in_training_only():
    layer = built(8, 2, dropout=0.9)
    np.testing.assert_allclose(
        run(layer, QUERIES, MEMORY),
        numpy_attention(layer, QUERIES, MEMORY),
        rtol=1e-4,
        atol=1e-5,
    )
    y = array(layer(QUERIES, MEMORY, training=True))
    assert not np.allclose(y, run(layer, QUERIES, MEMORY))
    # With all values equal, no dropout on the weights or values can hide.
    same = np.ones_like(MEMORY)
    np.testing.assert_allclose(
        layer(QUERIES, same, training=True),
        np.broadcast_to(run(layer.value_projection, same), (2, 3, 5, 8)),
        rtol=1e-4,
    )


def test_dropout_lets_no_later_position_in():
    layer = built(8, 2, dropout=0.5)
    later = MEMORY.copy()
    later[:, 2] += 5.0
    outputs = []
    for memory in (MEMORY, later):
        # The same dropout both times.
        state = layer.dropout.seed_generator.state
        state.assign(np.array([1, 0], "uint32"))
        outputs.append(array(layer(QUERIES, memory, training=True)))
    first, second = outputs
    np.testing.assert_array_equal(first[:, :2], second[:, :2])
    assert np.all(first[:, 2] != second[:, 2])


def autodiff_attention(layer, queries, memory):
    """The same by dense operations, with the layer's next dropout."""

    def split_heads(x):
        x = ops.reshape(x, (2, 15, layer.heads, -1))
        return ops.transpose(x, (0, 2, 1, 3))

    q, k, v = (
        split_heads(dense(x))
        for x, dense in [
            (queries, layer.query_projection),
            (memory, layer.key_projection),
            (memory, layer.value_projection),
        ]
    )
    logits = q @ ops.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    if layer.dropout.rate:
        # One seed a block of queries.
        kept = []
        for start in range(0, 15, layer.query_block):
            stop = min(start + layer.query_block, 15)
            ones = ops.ones((2, 1, stop - start, stop))
            generator = layer.dropout.seed_generator
            dropped = dropout(ones, layer.dropout.rate, generator)
            kept.append(
                ops.pad(dropped, [[0, 0], [0, 0], [0, 0], [0, 15 - stop]])
            )
        logits = logits * ops.concatenate(kept, axis=2)
    logits = ops.where(np.tri(15, dtype=bool), logits, -np.inf)
    y = ops.transpose(ops.softmax(logits) @ v, (0, 2, 1, 3))
    return ops.reshape(y, (2, 3, 5, layer.units))


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize(
    ("query_block", "most_kept"),
    [(256, 0), (4, 0), (4, 15 * 15), (4, 2 * 15 * 15)],
)
def test_gradients_equal_those_of_dense_operations(
    monkeypatch, query_block, most_kept, dropout
):
    monkeypatch.setattr(blockwise_attention, "MOST_KEPT", most_kept)
    layer = built(8, 2, dropout, query_block)
    targets = normal(2, 3, 5, 8, seed=2)

    given = [keras.Variable(QUERIES), keras.Variable(MEMORY)]

    def gradients(attend):
        def loss():
            if dropout:
                state = layer.dropout.seed_generator.state
                state.assign(ops.convert_to_tensor([3, 0], state.dtype))
            y = attend(*(1.0 * x for x in given))
            return ops.sum((y - targets) ** 2)

        return weight_gradients(loss, [*given, *layer.trainable_variables])

    assert_close(
        gradients(lambda *given: layer(*given, training=True)),
        gradients(lambda *given: autodiff_attention(layer, *given)),
        rtol=1e-4,
        atol=1e-4,
    )


def test_dropout_differs_from_call_to_call_and_block_to_block():
    layer = built(8, 2, 0.5, query_block=1)
    same = np.ones_like(QUERIES), np.ones_like(MEMORY)
    first, second = (array(layer(*same, training=True)) for _ in range(2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("in_order", [True, False])
def test_blocks_equal_numpy_in_any_order(in_order):
    q, k, v = (normal(2, 2, 9, 3, seed=i) for i in range(3))
    y = blockwise_attention.blockwise_attention(
        q, k, v, query_block=4, in_order=in_order
    )
    logits = np.einsum("bhqd,bhkd->bhqk", q, k)
    logits[..., np.triu(np.ones((9, 9), bool), 1)] = -np.inf
    assert_close(y, np.einsum("bhqk,bhkd->bhqd", softmax(logits), v))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="reads TensorFlow's graph")
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_backward_pass_keeps_no_logits(monkeypatch, dropout):
    import tensorflow as tf

    monkeypatch.setattr(blockwise_attention, "MOST_KEPT", 2 * 15 * 15 - 1)
    layer = built(10, 2, dropout, query_block=4)

    @tf.function
    def step(memory):
        y = layer(QUERIES, memory, training=True)
        return tf.gradients(tf.reduce_sum(y**2), memory), y

    graph = step.get_concrete_function(tf.constant(MEMORY)).graph
    (d_memory,), y = graph.structured_outputs
    kept = ancestors(y)

    def is_logits(tensor):
        return tensor.shape[1:].as_list() in [
            [2, 4, 4],
            [2, 4, 8],
            [2, 4, 12],
            [2, 3, 15],
        ]

    logits = [t for op in kept for t in op.outputs if is_logits(t)]
    assert len(logits) > 4
    for tensor in logits:
        assert all(op in kept for op in tensor.consumers())
    assert any(
        is_logits(t) for op in ancestors(d_memory) - kept for t in op.outputs
    )


def ancestors(tensor):
    """All operations that a TensorFlow graph's tensor needs, as a set."""
    found, waiting = set(), [tensor.op]
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting += [t.op for t in op.inputs] + list(op.control_inputs)
    return found


@pytest.mark.parametrize("key_block", [1, 10, 256])
def test_position_by_position_equals_the_call(key_block):
    layer = built(8, 2)

    def incremental(queries, memory):
        state = layer.initial_state(2, key_block=key_block)
        outputs = []
        for row in range(3):
            state = layer.next_row(state, row)
            for column in range(5):
                y, state = layer.step(
                    state,
                    queries[:, row, column],
                    memory[:, row, column],
                    row,
                    column,
                )
                outputs.append(y)
        return ops.reshape(ops.stack(outputs, axis=1), (2, 3, 5, 8))

    np.testing.assert_allclose(
        run(incremental, QUERIES, MEMORY),
        run(layer, QUERIES, MEMORY),
        rtol=1e-4,
        atol=1e-5,
    )


def test_heads_must_divide_units():
    with pytest.raises(ValueError, match="heads=3, units=8"):
        CausalAttention(8, 3)


def test_compiled_equals_eager():
    check_compiled(CausalAttention(8, 2, query_block=4), QUERIES, MEMORY)


def test_bfloat16_is_close():
    check_bfloat16(
        lambda **policy: CausalAttention(8, 2, **policy), QUERIES, MEMORY
    )


def test_softmax_is_float32_under_bfloat16():
    # 0.01 at a thousand positions: in bfloat16 the sum would be off.
    layer = CausalAttention(1, 1, dtype="mixed_bfloat16", query_block=2048)
    x = keras.ops.zeros((1, 1, 1500, 1), dtype="bfloat16")
    layer.build(x.shape, x.shape)
    layer.value_projection.bias.assign([1.0])
    y = array(ops.cast(run(layer, x, x), "float32"))
    np.testing.assert_allclose(y, 1.0, rtol=0.01)

"""Tests of `LocalAttention`: against all tokens under a mask."""

import numpy as np
import pytest
from keras import ops

from tests.helpers import BACKEND
from tests.helpers import array
from tests.helpers import normal
from tests.helpers import run
from tests.helpers import softmax
from vqvae2_tf.layers import LocalAttention

pytestmark = pytest.mark.any_backend


def places(sizes, has_first):
    """Map, row and column of each token; None for the one of no map."""
    found = [None] * has_first
    for i, (height, width) in enumerate(sizes):
        found += [(i, y, x) for y in range(height) for x in range(width)]
    return found


def sees(sizes, query, key, kernel, coarser_kernel):
    """Whether a token attends to another, from their places."""
    if query is None or key is None:
        return key is None
    (i, y, x), (j, v, u) = query, key
    if j == i:
        reach = kernel // 2
    elif j == i - 1:
        reach = coarser_kernel // 2
        y = y * sizes[j][0] // sizes[i][0]
        x = x * sizes[j][1] // sizes[i][1]
    else:
        return False
    return max(abs(y - v), abs(x - u)) <= reach


@pytest.mark.parametrize(
    ("sizes", "has_first", "kernels"),
    [
        ([(2, 3), (4, 6)], True, (5, 3)),
        ([(2, 2), (4, 4), (9, 6)], True, (5, 3)),
        pytest.param([(9, 6)], False, (5, 3), marks=pytest.mark.large),
        pytest.param([(1, 1), (3, 2)], True, (5, 3), marks=pytest.mark.large),
        pytest.param([(5, 7), (5, 7)], False, (3, 3), marks=pytest.mark.large),
        pytest.param([(2, 2), (8, 8)], False, (5, 1), marks=pytest.mark.large),
    ],
)
def test_weights_are_those_of_all_tokens_under_a_mask(
    sizes, has_first, kernels
):
    tokens = places(sizes, has_first)
    count = len(tokens)
    mask = np.array(
        [[sees(sizes, q, k, *kernels) for k in tokens] for q in tokens]
    )
    attend = LocalAttention(sizes, has_first, *kernels)
    q, k = (normal(2, 2, count, count, seed=i) for i in range(2))
    q *= count**-0.5
    # Values of which each is another direction: what comes out are weights.
    v = np.broadcast_to(np.eye(count, dtype="float32"), q.shape)
    weights = array(run(attend, q, k, v))
    logits = q @ k.swapaxes(2, 3)
    expected = softmax(np.where(mask, logits, -np.inf))
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(weights[0, 0] > 0, mask)


def test_a_token_sees_24_others_and_9_of_the_level_before():
    tokens = places([(8, 8), (16, 16)], False)
    counts = {
        (1, 8, 8): 9 + 25,
        (1, 0, 0): 4 + 9,
        (1, 0, 15): 4 + 9,
        (1, 15, 8): 6 + 15,
        (1, 1, 14): 4 + 16,
        (0, 4, 4): 25,
    }
    examples = np.arange(len(counts))
    asked = [tokens.index(token) for token in counts]
    v = np.zeros((len(counts), 1, len(tokens), 1), "float32")
    v[examples, 0, asked] = 1.0
    q = np.zeros_like(v)
    shares = array(run(LocalAttention([(8, 8), (16, 16)]), q, q, v))
    found = 1 / shares[examples, 0, asked, 0]
    np.testing.assert_allclose(found, list(counts.values()), rtol=1e-5)


def step_of_a_block(size, attention, width=256, batch=2):
    """A compiled training step of one block: of its sum of squares."""
    import jax
    import keras

    from vqvae2_tf.layers import TransformerBlock

    def everywhere(q, k, v):
        q, k, v = (ops.swapaxes(x, 1, 2) for x in (q, k, v))
        y = ops.dot_product_attention(q, k, v, scale=1.0)
        return ops.swapaxes(y, 1, 2)

    attend = LocalAttention([(size, size)]) if attention else everywhere
    block = TransformerBlock(8, 8 * width // 3, attend=attend)
    block.build((None, size * size, width))

    def loss(weights, x):
        mapping = zip(block.trainable_variables, weights, strict=True)
        with keras.StatelessScope(state_mapping=list(mapping)):
            return ops.sum(block(x, training=True) ** 2)

    weights = [v.value for v in block.trainable_variables]
    x = jax.ShapeDtypeStruct((batch, size * size, width), "float32")
    return jax.jit(jax.grad(loss, (0, 1))).lower(weights, x).compile()


@pytest.mark.large
@pytest.mark.skipif(BACKEND != "jax", reason="XLA tells its sizes")
def test_a_training_step_at_64x64_takes_an_eighth_of_the_memory():
    local, full = (
        step_of_a_block(64, attention).memory_analysis().temp_size_in_bytes
        for attention in (True, False)
    )
    assert local <= full / 8


@pytest.mark.large
@pytest.mark.skipif(BACKEND != "jax", reason="XLA tells its sizes")
def test_twice_the_map_is_four_times_the_work():
    # A row of twice the width, of which there are twice as many.
    small, large = (
        step_of_a_block(size, True, 32).cost_analysis()["flops"]
        for size in (32, 64)
    )
    assert large / small < 2 * 2.5

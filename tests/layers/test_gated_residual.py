"""Tests of `GatedResidual`."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import array
from tests.helpers import assert_close
from tests.helpers import build
from tests.helpers import causal_pattern
from tests.helpers import check_bfloat16
from tests.helpers import check_compiled
from tests.helpers import elu
from tests.helpers import jacobian_pattern
from tests.helpers import normal
from tests.helpers import run
from tests.helpers import sigmoid
from tests.helpers import weight_gradients
from vqvae2_tf.layers import GatedResidual

pytestmark = pytest.mark.any_backend

X = normal(2, 3, 5, 6)
GIVEN = {
    "auxiliary": normal(2, 3, 5, 4, seed=1),
    "class_embedding": normal(2, 7, seed=2),
    "conditioning": normal(2, 3, 5, 3, seed=3),
}


def built(*args, x=X, **given):
    return build(GatedResidual(*args), x, **given)


def numpy_gated_residual(layer, x, **given):
    """The layer on 1x1 convolutions."""

    def times(conv, x):
        return x @ array(conv.row_kernel)[0, 0] + array(conv.bias)

    h = times(layer.first_conv, elu(x))
    if "auxiliary" in given:
        (kernel,) = layer.auxiliary_projection.get_weights()
        h = h + given["auxiliary"] @ kernel
    h = times(layer.second_conv, elu(h))
    if "class_embedding" in given:
        (kernel,) = layer.class_projection.get_weights()
        h = h + (given["class_embedding"] @ kernel)[:, None, None]
    if "conditioning" in given:
        (kernel,) = layer.conditioning_projection.get_weights()
        h = h + given["conditioning"] @ kernel
    a, b = h[..., : x.shape[-1]], h[..., x.shape[-1] :]
    return x + a * sigmoid(b)


@pytest.mark.parametrize(
    "names", [[], *[[name] for name in GIVEN], list(GIVEN)]
)
def test_equals_numpy(names):
    given = {name: GIVEN[name] for name in names}
    layer = built(8, 1, **given)
    np.testing.assert_allclose(
        run(lambda x: layer(x, **given), X),
        numpy_gated_residual(layer, X, **given),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("first", "second"), [(1, 1), (3, 1), (5, 1), (3, 3), (1, 5)]
)
def test_sees_exactly_the_convolutions_taps(first, second):
    layer = built(8, first, second)
    expected = causal_pattern(3, 5, second) @ causal_pattern(3, 5, first)
    np.testing.assert_array_equal(jacobian_pattern(layer, X[0]), expected)


def test_auxiliary_and_conditioning_reach_their_own_position_only():
    layer = built(8, 3, **GIVEN)
    rest = {"class_embedding": np.repeat(GIVEN["class_embedding"][:1], 15, 0)}
    tiled = {name: np.repeat(GIVEN[name][:1], 15, axis=0) for name in GIVEN}
    x = np.repeat(X[:1], 15, axis=0)
    for name in ("auxiliary", "conditioning"):
        rest = {key: value for key, value in tiled.items() if key != name}
        pattern = jacobian_pattern(
            lambda given, name=name, rest=rest: layer(
                x, **{name: given}, **rest
            ),
            GIVEN[name][0],
        )
        np.testing.assert_array_equal(pattern, np.eye(15, dtype=bool))


def test_class_embedding_reaches_every_position_of_its_example():
    layer = built(8, 3, **GIVEN)
    given = dict(GIVEN)
    labels = given.pop("class_embedding")
    other = labels.copy()
    other[1] += 1.0
    before, after = (
        array(run(lambda e: layer(X, class_embedding=e, **given), e))
        for e in (labels, other)
    )
    np.testing.assert_array_equal(before[0], after[0])
    assert np.all(before[1] != after[1])


def test_dropout_is_only_active_in_training():
    layer = built(64, 3, 1, 0.5)
    still, again = run(layer, X), run(layer, X)
    np.testing.assert_array_equal(still, again)
    dropped = array(layer(X, training=True)) - X
    kept = array(still) - X
    assert not np.allclose(dropped, kept)
    # Inverted dropout: no shift of the whole.
    assert 0.3 < np.std(dropped) / np.std(kept) < 3


@pytest.mark.parametrize("names", [[], list(GIVEN)])
def test_rematerialized_gradients_are_the_same(names):
    given = {name: GIVEN[name] for name in names}
    layers = [
        build(
            GatedResidual(8, 3, dropout=0.5, rematerialize=rematerialize),
            X,
            **given,
        )
        for rematerialize in (False, True)
    ]

    given = {name: keras.Variable(values) for name, values in given.items()}
    x = keras.Variable(X)

    def gradients(layer):
        def loss():
            state = layer.dropout.seed_generator.state
            state.assign(ops.convert_to_tensor([3, 0], state.dtype))
            tensors = {name: 1.0 * y for name, y in given.items()}
            y = layer(1.0 * x, **tensors, training=True)
            return ops.sum(y**2)

        return weight_gradients(
            loss, [x, *given.values(), *layer.trainable_variables]
        )

    expected, actual = map(gradients, layers)
    assert all(np.any(values != 0) for values in expected)
    assert_close(actual, expected)


def test_compiled_equals_eager():
    check_compiled(GatedResidual(8, 3), X, **GIVEN)


def test_bfloat16_is_close():
    check_bfloat16(lambda **policy: GatedResidual(8, 3, **policy), X, **GIVEN)

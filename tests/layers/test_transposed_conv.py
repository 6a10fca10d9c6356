"""Tests of `transposed_conv` against Keras and the backend's own gradient."""

import numpy as np
import pytest
from keras import ops

from tests.helpers import BACKEND
from tests.helpers import array
from tests.helpers import assert_close
from tests.helpers import gradient
from tests.helpers import normal
from vqvae2_tf.layers.transposed_conv import transposed_conv

pytestmark = pytest.mark.any_backend
# Size, stride and padding: of upsamplers, of conditioning stacks, and others.
CASES = [(4, 2, "same"), (2, 2, "valid"), (3, 3, "valid"), (8, 4, "same")]


def arrays_of(size):
    return normal(2, 3, 5, 4), normal(size, size, 6, 4, seed=1)


@pytest.mark.parametrize("size, stride, padding", CASES)
class TestEqualsKeras:
    def test_outputs(self, size, stride, padding):
        x, kernel = arrays_of(size)
        actual = transposed_conv(x, kernel, stride, padding)
        assert actual.shape == (2, 3 * stride, 5 * stride, 6)
        expected = ops.conv_transpose(x, kernel, stride, padding=padding)
        assert_close(array(actual), array(expected))

    @pytest.mark.parametrize("of", ["input", "kernel"])
    def test_gradients(self, size, stride, padding, of):
        x, kernel = arrays_of(size)
        weights = normal(2, 3 * stride, 5 * stride, 6, seed=2)

        def loss(function):
            def of_one(value):
                given = (value, kernel) if of == "input" else (x, value)
                outputs = function(*given, stride, padding=padding)
                return ops.sum(weights * outputs**2)

            return of_one

        value = x if of == "input" else kernel
        actual = gradient(loss(transposed_conv), value)
        expected = gradient(loss(ops.conv_transpose), value)
        assert_close(actual, expected, 1e-4, 1e-4 * np.abs(expected).max())


def test_the_kernels_gradient_in_bfloat16_is_close():
    x, kernel = normal(8, 16, 16, 4), normal(4, 4, 6, 4, seed=1)

    def gradient_in(dtype):
        def loss(kernel):
            given = ops.cast(x, dtype), ops.cast(kernel, dtype)
            outputs = transposed_conv(*given, 2, "same")
            return ops.sum(ops.cast(outputs, "float32") ** 2)

        return gradient(loss, kernel)

    actual, expected = map(gradient_in, ("bfloat16", "float32"))
    assert_close(actual, expected, 0, 0.02 * np.abs(expected).max())


@pytest.mark.skipif(BACKEND != "jax", reason="of a program of JAX")
@pytest.mark.parametrize("size, stride, padding", CASES)
def test_gradients_dilate_no_input(size, stride, padding):
    import jax
    from jax.extend import core

    x, kernel = arrays_of(size)

    def dilated(function):
        def loss(x, kernel):
            outputs = function(x, kernel, stride, padding=padding)
            return ops.sum(outputs**2)

        program = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(x, kernel)
        convolutions = [
            equation.params["lhs_dilation"]
            for equation in equations(program.jaxpr)
            if equation.primitive.name == "conv_general_dilated"
        ]
        return len(convolutions), convolutions.count((stride, stride))

    def equations(jaxpr):
        for equation in jaxpr.eqns:
            yield equation
            for inner in core.jaxprs_in_params(equation.params):
                yield from equations(inner)

    assert dilated(transposed_conv) == (3, 1)
    assert dilated(ops.conv_transpose) == (3, 2)

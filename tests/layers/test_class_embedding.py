"""Vectors of classes, and of none."""

import numpy as np
import pytest

from tests.helpers import array
from tests.helpers import run
from vqvae2_tf.layers import ClassEmbedding

pytestmark = pytest.mark.any_backend

LABELS = np.array([2, -1, 0, -1], "int32")


def test_each_class_has_its_vector_and_none_is_zero():
    layer = ClassEmbedding(3, 4)
    layer.build()
    vectors = array(run(lambda: layer(LABELS)))
    (weights,) = layer.get_weights()
    assert weights.shape == (3, 4)
    zeros = np.zeros(4)
    np.testing.assert_array_equal(
        vectors, [weights[2], zeros, weights[0], zeros]
    )


def test_none_learns_a_vector_of_its_own():
    layer = ClassEmbedding(3, 4, learns_none=True)
    layer.build()
    vectors = array(run(lambda: layer(LABELS)))
    (weights,) = layer.get_weights()
    assert weights.shape == (4, 4)
    np.testing.assert_array_equal(vectors, weights[[2, 3, 0, 3]])


def test_vectors_of_a_version_without_that_of_none_are_loaded():
    layer = ClassEmbedding(3, 4, learns_none=True)
    layer.build()
    vectors = np.arange(12.0, dtype="float32").reshape(3, 4)
    layer.load_own_variables({"0": vectors})
    found = array(run(lambda: layer(LABELS)))
    zeros = np.zeros(4)
    np.testing.assert_array_equal(found, [vectors[2], zeros, vectors[0], zeros])

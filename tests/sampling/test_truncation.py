"""Top-k and top-p against a sort in NumPy."""

import numpy as np
import pytest

from tests.helpers import array
from tests.helpers import normal
from tests.helpers import run
from tests.helpers import softmax
from vqvae2_tf.sampling.truncation import keep_top_k
from vqvae2_tf.sampling.truncation import keep_top_p

pytestmark = pytest.mark.any_backend

LOGITS = 2 * normal(20, 9)


def kept(function, logits, limit):
    truncated = array(run(lambda x: function(x, limit), logits))
    left = truncated > -1e20
    np.testing.assert_array_equal(truncated[left], logits[left])
    return left


@pytest.mark.parametrize("k", [1, 4, 9, 12])
def test_top_k_leaves_the_likeliest(k):
    ranks = np.argsort(np.argsort(-LOGITS, axis=-1), axis=-1)
    np.testing.assert_array_equal(kept(keep_top_k, LOGITS, k), ranks < k)


@pytest.mark.parametrize("p", [1e-6, 0.3, 0.9, 1.0])
def test_top_p_leaves_the_fewest_that_reach_it(p):
    left = kept(keep_top_p, LOGITS, p)
    for row, probabilities in zip(left, softmax(LOGITS), strict=True):
        total = 0.0
        for code in np.argsort(-probabilities):
            assert row[code] == (total < p)
            total += probabilities[code]


def test_ties_stay_together():
    logits = np.array([[0.0, 1.0, 1.0, -1.0]], "float32")
    expected = [[False, True, True, False]]
    np.testing.assert_array_equal(kept(keep_top_k, logits, 1), expected)
    np.testing.assert_array_equal(kept(keep_top_p, logits, 0.1), expected)

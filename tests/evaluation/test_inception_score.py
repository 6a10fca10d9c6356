"""Tests of the Inception Score."""

import numpy as np
import pytest

from tests.evaluation.fidelity import SAMPLES
from vqvae2_tf.evaluation.inception_score import inception_score

pytestmark = pytest.mark.any_backend


def test_score_is_torch_fidelitys():
    found = inception_score(SAMPLES * 5)
    assert found.value == pytest.approx(8.399606589415567, rel=1e-12)
    assert found.deviation == pytest.approx(0.4697424463963362, rel=1e-10)


def test_sure_and_evenly_spread_classes_score_their_number():
    # Log probabilities, zeros among them. The shuffle hardly changes shares.
    with np.errstate(divide="ignore"):
        logits = np.log(np.eye(4))[np.arange(4000) % 4]
    found = inception_score(logits, splits=1)
    assert found == (pytest.approx(4.0), 0.0)
    assert 3.9 < inception_score(logits).value < 4.0


def test_sorted_classes_are_shuffled():
    logits = 50 * np.eye(10)[np.repeat(np.arange(10), 100)]
    assert inception_score(logits).value > 9


def test_indifferent_logits_score_one():
    assert inception_score(np.full((20, 5), 7e4)).value == pytest.approx(1.0)


def test_fewer_images_than_splits_are_refused():
    with pytest.raises(ValueError, match="at least 10 images.*Received: 9"):
        inception_score(np.ones((9, 3)))

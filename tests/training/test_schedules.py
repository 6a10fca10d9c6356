"""The priors' learning rate, against its formula."""

import numpy as np
import pytest

from tests.helpers import array
from vqvae2_tf.training.schedules import PriorSchedule
from vqvae2_tf.training.schedules import cosine_schedule


def rate(schedule, step):
    """Rate of the step of this number, counted from 1."""
    return float(array(schedule(step - 1)))


@pytest.mark.parametrize("step", [1, 100, 16_000, 46_908, 46_909, 10**6])
def test_prior_schedule_is_the_formula(step):
    expected = 0.18 * 512**-0.5 * min(step**-0.35, step * 16_000**-1.5)
    assert rate(PriorSchedule(0.18, 512), step) == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize(("scale", "peak"), [(0.18, 1.84e-4), (0.324, 3.32e-4)])
def test_prior_schedule_peaks_where_the_branches_cross(scale, peak):
    schedule = PriorSchedule(scale, 512)
    steps = np.arange(46_000, 48_000)
    rates = array(schedule(steps - 1))
    assert abs(steps[rates.argmax()] - 46_908) <= 1
    assert rates.max() == pytest.approx(peak, rel=5e-3)


def test_cosine_schedule_warms_up_and_ends_at_zero():
    schedule = cosine_schedule(1e-3, 500)
    assert rate(schedule, 6) == pytest.approx(5e-4)
    assert rate(schedule, 11) == pytest.approx(1e-3)
    assert rate(schedule, 256) == pytest.approx(5e-4, rel=1e-3)
    assert rate(schedule, 501) == pytest.approx(0.0, abs=1e-9)


def test_cosine_schedule_warms_up_in_as_many_steps_as_asked_for():
    schedule = cosine_schedule(1e-3, 500, warm_up=100)
    assert rate(schedule, 51) == pytest.approx(5e-4)
    assert rate(schedule, 101) == pytest.approx(1e-3)
    assert rate(schedule, 301) == pytest.approx(5e-4)
    assert rate(schedule, 501) == pytest.approx(0.0, abs=1e-9)

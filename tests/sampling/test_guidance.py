"""Classifier-free guidance: label dropout, and samples of guided logits."""

import math

import numpy as np
import pytest
from keras import ops

from tests.helpers import array
from tests.helpers import assert_close
from tests.helpers import compiled
from tests.helpers import conditions
from tests.helpers import integers
from tests.helpers import make_prior
from tests.helpers import run
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.priors import Transformer
from vqvae2_tf.sampling import incremental
from vqvae2_tf.sampling import naive
from vqvae2_tf.sampling import sample
from vqvae2_tf.sampling.guidance import GUIDANCE_FLAGS
from vqvae2_tf.sampling.guidance import Guided
from vqvae2_tf.sampling.guidance import scale_at
from vqvae2_tf.sampling.noise import Noise

pytestmark = pytest.mark.any_backend

SCHEDULES = GUIDANCE_FLAGS[1].choices
NONE = np.full(4, -1, "int32")


@pytest.fixture(
    scope="module",
    params=[
        PixelSNAIL,
        pytest.param(Transformer, marks=pytest.mark.large),
    ],
    ids=["pixelsnail", "transformer"],
)
def prior(request):
    return make_prior(
        network=request.param,
        sizes=((2, 3), (4, 6)),
        num_codes=(4, 7),
        num_classes=3,
        label_dropout=0.5,
        dropout=0.0,
    )


@pytest.fixture(scope="module")
def inputs(prior):
    return conditions(prior, 4)


def draw(prior, scale=None, draw_codes=incremental.draw, schedule=0, **inputs):
    noise = Noise(3, np.arange(4), 1)
    drawn_from = prior if scale is None else Guided(prior, scale, schedule)

    def codes():
        return draw_codes(drawn_from, noise, **inputs)

    return array(compiled(codes, prior)())


def test_logits_are_moved_from_those_of_no_class(prior, inputs):
    codes = integers(7, 4, 4, 6)
    given = {name: inputs[name] for name in ("labels", "coarser")}
    of_class = array(run(lambda: prior(codes, **given)))
    of_none = array(run(lambda: prior(codes, **{**given, "labels": NONE})))
    guided = array(run(lambda: Guided(prior, 2.5)(codes, **given)))
    assert np.abs(of_class - of_none).max() > 0.01
    assert_close(guided, of_none + 2.5 * (of_class - of_none), 1e-4, 1e-4)


# Of guidance 3, a quarter and three quarters of the way.
@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("constant", 3.0, 3.0),
        ("linear", 1.5, 2.5),
        (
            "power_cosine",
            2 - math.cos(math.pi / 64),
            2 - math.cos(27 * math.pi / 64),
        ),
    ],
)
def test_a_schedule_leads_from_no_guidance_to_all(name, first, second):
    number = SCHEDULES.index(name)
    progress = np.array([0, 0.25, 0.75, 1], "float32")
    scales = array(run(lambda: scale_at(3.0, number, progress)))
    start = 3.0 if name == "constant" else 1.0
    expected = np.array([start, first, second, 3.0])
    assert_close(scales, expected, 1e-6)


@pytest.mark.parametrize(
    "schedule", [*(pytest.param(i, marks=pytest.mark.large) for i in (0, 1)), 2]
)
def test_codes_are_those_of_the_naive_sampler(prior, inputs, schedule):
    codes = draw(prior, 8.0, schedule=schedule, **inputs)
    expected = draw(prior, 8.0, naive.draw, schedule, **inputs)
    np.testing.assert_array_equal(codes, expected)
    assert (codes != draw(prior, **inputs)).any()
    assert not schedule or (codes != draw(prior, 8.0, **inputs)).any()


def test_the_scale_grows_in_raster_order(prior, inputs):
    codes = integers(7, 4, 4, 6)
    given = {name: inputs[name] for name in ("labels", "coarser")}
    linear = SCHEDULES.index("linear")
    of_class, of_none, guided = (
        array(run(lambda p=p, x=x: p(codes, **{**given, "labels": x})))
        for p, x in [
            (prior, given["labels"]),
            (prior, NONE),
            (Guided(prior, 3.0, linear), given["labels"]),
        ]
    )
    scales = 1 + 2 * np.arange(24).reshape(4, 6, 1) / 23
    assert_close(guided, of_none + scales * (of_class - of_none), 1e-4, 1e-4)


@pytest.mark.large
@pytest.mark.parametrize("value", ["linear", 1, np.int32(1)])
def test_a_schedule_is_an_option_of_samples(prior, inputs, value):
    expected = draw(prior, 8.0, schedule=1, **inputs)

    def sampled():
        given = value
        if isinstance(value, np.int32):
            given = ops.convert_to_tensor(value)
        options = {"guidance": 8.0, "guidance_schedule": given}
        return sample(prior, seed=3, **options, **inputs)

    np.testing.assert_array_equal(array(compiled(sampled, prior)()), expected)


@pytest.mark.parametrize("value", ["cosine", 3, -1])
def test_another_schedule_is_refused(prior, inputs, value):
    with pytest.raises(ValueError, match="`guidance_schedule`: expected"):
        sample(prior, guidance_schedule=value, **inputs)


@pytest.mark.parametrize(
    "is_tensor", [pytest.param(False, marks=pytest.mark.large), True]
)
@pytest.mark.parametrize(
    "scale",
    [*(pytest.param(x, marks=pytest.mark.large) for x in (0.0, 1.0)), 8.0],
)
def test_a_scale_is_an_option_of_samples(prior, inputs, scale, is_tensor):
    def sampled():
        value = ops.convert_to_tensor(scale) if is_tensor else scale
        return sample(prior, seed=3, guidance=value, **inputs)

    if scale == 8.0:
        expected = draw(prior, 8.0, **inputs)
    else:
        labels = inputs["labels"] if scale else NONE
        expected = draw(prior, **{**inputs, "labels": labels})
    np.testing.assert_array_equal(array(compiled(sampled, prior)()), expected)


def test_half_of_the_labels_are_dropped_in_training_only():
    prior = make_prior(num_classes=3, label_dropout=0.5, dropout=0.0)
    count = 400
    codes = np.repeat(integers(5, 1, 4, 6), count, axis=0)

    def nll(label, training=False):
        batch = {"codes": (codes,), "label": np.full(count, label)}
        statistics = run(lambda: prior.loss_and_statistics(batch, training)[1])
        return float(statistics["nll"])

    of_class, of_none = nll(1), nll(-1)
    assert abs(of_class - of_none) > 1e-3 * of_class
    dropped = (nll(1, training=True) - of_class) / (of_none - of_class)
    # Six standard deviations.
    assert abs(dropped - 0.5) < 6 * 0.5 / np.sqrt(count)


def test_labels_must_be_given(prior):
    with pytest.raises(ValueError, match="`labels` are expected"):
        sample(prior, batch_size=2, guidance=2.0, coarser=[np.zeros((2, 2, 3))])


def test_a_prior_without_label_dropout_has_no_guidance():
    prior = make_prior(num_classes=3)
    with pytest.raises(ValueError, match="guidance"):
        sample(prior, labels=[0], guidance=2.0)

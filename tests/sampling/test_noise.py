"""Counter-based noise: known answers, and nothing but its counters."""

import numpy as np
import pytest

from tests.helpers import array
from tests.helpers import run
from vqvae2_tf.sampling import noise

pytestmark = pytest.mark.any_backend


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    # The known answers that Random123, the authors' code, is tested with.
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1,) * 2, (2**32 - 1,) * 2, (0x1CB996FC, 0xBB002BE7)),
        (
            (0x13198A2E, 0x03707344),
            (0x243F6A88, 0x85A308D3),
            (0xC4923A9C, 0x483DF7A0),
        ),
    ],
)
def test_threefry_known_answers(key, counter, expected):
    def as_uint32(pair):
        # Arrays: NumPy warns of the overflow of scalars.
        return tuple(np.asarray([x], "uint32") for x in pair)

    bits = run(noise.threefry_2x32, as_uint32(key), as_uint32(counter))
    assert tuple(int(array(x)[0]) for x in bits) == expected


def bits(seed, sample_ids, positions, count=6, level=0, step=0):
    drawn = noise.Noise(seed, np.asarray(sample_ids, "int32"), level)
    return array(drawn.bits(np.asarray(positions, "int32"), count, step))


def test_a_samples_bits_do_not_depend_on_its_batch():
    together = bits(3, [4, 5, 6], [0, 1, 2])
    alone = bits(3, [5], [2])
    np.testing.assert_array_equal(together[1, 2], alone[0, 0])


def test_every_number_differs():
    drawn = [
        bits(seed, [0, 1], [0, 1], 7, level, step)
        for seed in (0, 1)
        for level in (0, 1, 255)
        for step in (0, 1, 255)
    ]
    assert len(np.unique(drawn)) == np.size(drawn)


def test_of_many_codes_no_number_is_another_levels():
    count = 2**17 + 512
    drawn = [bits(0, [0], [0], count, level).ravel() for level in (0, 1)]
    # By chance 8 pairs of so many numbers of 32 bits are equal.
    assert np.size(drawn) - len(np.unique(drawn)) < 50


def test_seeds_are_taken_modulo_2_to_the_32():
    np.testing.assert_array_equal(bits(-1, [0], [0]), bits(2**32 - 1, [0], [0]))


def test_gumbel_noise_is_finite_at_both_ends():
    ends = array(noise.gumbel(np.array([0, 2**32 - 1], "uint32")))
    assert np.isfinite(ends).all()
    assert ends[0] < -2.5
    assert ends[1] > 15


def test_gumbel_noise_has_its_distribution():
    ids, positions = np.arange(50), np.arange(50)
    sample = array(noise.Noise(0, ids).gumbel(positions, 40)).ravel()
    for x in (-1.0, 0.0, 1.0, 3.0):
        share = np.exp(-np.exp(-x))
        error = 4 * np.sqrt(share * (1 - share) / sample.size)
        assert abs(np.mean(sample < x) - share) < error

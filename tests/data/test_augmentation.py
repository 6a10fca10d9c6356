"""Augmentation: stateless, clipped, and each operation within its range."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from vqvae2_tf.data import augmentation
from vqvae2_tf.data import augmentation_names

SIZE = (8, 8)


@pytest.fixture(params=augmentation_names.AUGMENTERS)
def draw(request):
    """A function that draws with each of the augmenters."""
    if request.param == "keras_cv" and not importlib.util.find_spec("keras_cv"):
        pytest.skip("keras-cv is not installed")
    operations = augmentation.operations_of(request.param)

    @tf.function(reduce_retracing=True)
    def augmented(image, seed, names):
        return augmentation.augment(image, SIZE, names, seed, operations)

    def draw(image, names, index, seed=0):
        seed = tf.constant([seed, index], tf.int64)
        image = tf.constant(image, tf.float32)
        return augmented(image, seed, tuple(names)).numpy()

    return draw


def make_image(low=0.3, high=0.7, shape=(8, 8, 3)):
    draws = np.random.default_rng(0).uniform(low, high, size=shape)
    return draws.astype("float32")


def test_each_random_change_has_a_name():
    assert ("crop", *augmentation.OPERATIONS) == augmentation_names.NAMES


def test_a_draw_is_a_function_of_seed_and_example(draw):
    image = make_image(0, 1, (12, 12, 3))
    names = augmentation_names.NAMES
    np.testing.assert_array_equal(draw(image, names, 3), draw(image, names, 3))
    assert (draw(image, names, 3) != draw(image, names, 4)).any()
    assert (draw(image, names, 3) != draw(image, names, 3, seed=1)).any()


def test_results_stay_in_range(draw):
    image = make_image(0, 1)
    for index in range(20):
        result = draw(image, augmentation_names.NAMES, index)
        assert result.min() >= 0
        assert result.max() <= 1


def test_flip_gives_the_image_or_its_mirror_image(draw):
    image = make_image()
    flipped = [(draw(image, ["flip"], i) != image).any() for i in range(200)]
    assert 60 < sum(flipped) < 140
    for i in range(5):
        expected = image[:, ::-1] if flipped[i] else image
        np.testing.assert_array_equal(draw(image, ["flip"], i), expected)


def test_crop_reaches_every_corner_and_without_it_the_centre_is_cut(draw):
    image = np.arange(100, dtype="float32").reshape(10, 10, 1) / 100
    corners = {draw(image, ["crop"], i)[0, 0, 0] for i in range(200)}
    expected = {image[i, j, 0] for i in range(3) for j in range(3)}
    assert corners == expected
    np.testing.assert_array_equal(draw(image, [], 0), image[1:9, 1:9])


def test_brightness_moves_all_pixels_alike_within_its_delta(draw):
    image = make_image()
    deltas = [draw(image, ["brightness"], i) - image for i in range(200)]
    assert np.ptp(deltas, axis=(1, 2, 3)).max() < 1e-5
    means = np.mean(deltas, axis=(1, 2, 3))
    assert -0.0801 < means.min() < -0.07
    assert 0.07 < means.max() < 0.0801


def test_contrast_scales_around_the_mean_within_ten_percent(draw):
    image = make_image()
    factors = []
    for i in range(200):
        result = draw(image, ["contrast"], i)
        factors.append(result.std(axis=(0, 1)) / image.std(axis=(0, 1)))
        np.testing.assert_allclose(
            result.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=1e-5
        )
    assert 0.899 < np.min(factors) < 0.91
    assert 1.09 < np.max(factors) < 1.101


def test_hue_and_saturation_stay_within_their_deltas(draw):
    image = make_image(0.2, 0.8)
    before = tf.image.rgb_to_hsv(image).numpy()
    turns, factors = [], []
    for i in range(200):
        after = tf.image.rgb_to_hsv(draw(image, ["hue"], i)).numpy()
        turn = (after[..., 0] - before[..., 0] + 0.5) % 1 - 0.5
        turns.append(np.median(turn))
        after = tf.image.rgb_to_hsv(draw(image, ["saturation"], i)).numpy()
        factors.append(np.median(after[..., 1] / before[..., 1]))
    assert -0.0201 < min(turns) < -0.018
    assert 0.018 < max(turns) < 0.0201
    assert 0.899 < min(factors) < 0.91
    assert 1.09 < max(factors) < 1.101


def test_noise_is_added_to_half_of_the_images(draw):
    image = np.full((8, 8, 3), 0.5, "float32")
    stds = [draw(image, ["noise"], i).std() for i in range(200)]
    noisy = [std for std in stds if std > 0]
    assert 60 < len(noisy) < 140
    assert np.mean(noisy) == pytest.approx(0.02, rel=0.05)


def test_shift_moves_by_four_pixels_at_most(draw):
    image = np.zeros((8, 8, 1), "float32")
    image[4, 4] = 1
    moves = set()
    for i in range(300):
        rows, columns, _ = np.nonzero(draw(image, ["shift"], i))
        moves.update(zip(rows - 4, columns - 4, strict=True))
    assert {(-4, -4), (3, 3), (0, 0)} <= moves

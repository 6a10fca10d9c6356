"""Samples shown in training: which ones they are, and what they leave alone."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.helpers import array
from tests.helpers import arrays
from tests.toy_prior import ToyPrior
from tests.training import small
from vqvae2_tf.level import Level
from vqvae2_tf.runs.redrawing import make_redraw
from vqvae2_tf.runs.redrawing import partial_decoder
from vqvae2_tf.runs.sample_grid import make_sample_grid
from vqvae2_tf.sampling import naive
from vqvae2_tf.sampling.noise import Noise
from vqvae2_tf.training.devices import open_devices
from vqvae2_tf.training.state import STATE_FILE

pytestmark = pytest.mark.any_backend

SEED, COUNT = 7, 3
HELD_OUT = small.codes(COUNT)
LEVELS = Level("bottom", 4, 6, 5), [Level("top", 2, 3, 5)]


def as_images(maps):
    """`[n, 4, 6, 1]`, of a shade each code of the finer of two levels."""
    top, bottom = maps
    assert top.shape == (len(bottom), 2, 3)
    return bottom[..., None] / 2.0 - 1.0


def make_toy():
    prior = ToyPrior(*LEVELS, num_classes=3, label_dropout=0.5)
    prior.build()
    return prior


def make_pixelsnail():
    return small.make_prior("prior", random=True)


def make_grid(make_prior, devices, **options):
    keras.utils.set_random_seed(0)
    with devices.scope():
        prior = make_prior()
    plan = small.plan(rate=0.3)
    trainer = devices.trainer(prior, small.examples(small.codes()), plan)
    redraw = make_redraw(prior, devices, SEED, options)
    held_out = small.examples(HELD_OUT, COUNT)
    grid = make_sample_grid(redraw, held_out, 8, as_images)
    return prior, trainer, grid


def images_of(grid):
    """Codes `[2, COUNT, 4, 6]` whose shades a grid of two rows shows."""
    (pixels,) = grid["samples"]
    left = pixels.shape[1] - 8 * COUNT
    cells = pixels[2:, left:].reshape(2, 6, COUNT, 8, 3)[:, :4, :, :6, 0]
    return np.round(2 * (cells.transpose(0, 2, 1, 3) + 1)).astype(int)


def check_grid(make_prior, draw, devices, **options):
    """A grid has the samples of the averages, and leaves all as it was."""
    prior, trainer, grid = make_grid(make_prior, devices, **options)
    trainer.run(2)
    before = arrays(prior.variables)
    with trainer.averaged():
        held_out, drawn = images_of(grid())
        averages = arrays(prior.variables)
    for one, other in zip(before, arrays(prior.variables), strict=True):
        np.testing.assert_array_equal(one, other)
    top, bottom = HELD_OUT["codes"]
    np.testing.assert_array_equal(held_out, bottom)
    assert any(np.any(x != y) for x, y in zip(before, averages, strict=True))
    # Another model that has them.
    other = make_prior()
    for variable, value in zip(other.variables, averages, strict=True):
        variable.assign(value)
    noise = Noise(SEED, np.arange(COUNT, dtype="int32"), level=1)
    expected = draw(other, noise, HELD_OUT["label"], [top])
    np.testing.assert_array_equal(drawn, expected)
    return trainer, grid


def check_training_is_the_same(trainer, grid, folder):
    """After a grid the next steps are those without one, to the bit."""
    trainer.save(str(folder / "before"))
    states = []
    for is_shown in (False, True):
        trainer.restore(str(folder / "before"))
        if is_shown:
            with trainer.averaged():
                grid()
        trainer.run(2)
        trainer.save(str(folder / "after"))
        states.append(load_file(folder / "after" / STATE_FILE))
    # Dropout's seeds included.
    one, other = states
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def draw_toy(prior, noise, labels, coarser):
    """The Gumbel argmax of its logits."""
    features = array(prior.features.embeddings)[labels]
    means = np.stack([maps.mean(axis=(1, 2)) for maps in coarser], axis=-1)
    kernel, bias = map(array, prior.coarse.weights)
    features = features + means.astype("float32") @ kernel + bias
    kernel, bias = map(array, prior.logits.weights)
    logits = (features @ kernel + bias).reshape(COUNT, 24, 5)
    gumbel = array(noise.gumbel(np.arange(24, dtype="int32"), 5))
    return np.argmax(0.5 * logits + gumbel, axis=-1).reshape(COUNT, 4, 6)


def draw_pixelsnail(prior, noise, labels, coarser):
    """The whole network at each position."""
    options = {"temperature": 0.9, "top_k": 0, "top_p": 1.0}
    return array(naive.draw(prior, noise, labels, coarser, **options))


def test_a_grid_shows_samples_of_the_averages_and_changes_nothing(tmp_path):
    devices = open_devices("one")
    trained = check_grid(make_toy, draw_toy, devices, sharpness=0.5)
    check_training_is_the_same(*trained, tmp_path)


@pytest.mark.large
def test_so_does_one_of_a_raster_prior(tmp_path):
    networks = make_pixelsnail, draw_pixelsnail
    trained = check_grid(*networks, open_devices("one"), temperature=0.9)
    check_training_is_the_same(*trained, tmp_path)


TWO_DEVICES = """
import keras
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    from vqvae2_tf.training.tensorflow import TensorFlowDevices

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
    devices = TensorFlowDevices(
        tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    )
else:
    from vqvae2_tf.training.devices import open_devices

    devices = open_devices("auto")
assert devices.count == 2
from tests.runs import test_sample_grid as grids

grids.check_grid(grids.make_toy, grids.draw_toy, devices, sharpness=0.5)
"""


@pytest.mark.large
def test_a_grid_is_the_same_on_two_devices():
    flag = "--xla_force_host_platform_device_count=2"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    if keras.backend.backend() == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        environment["XLA_FLAGS"] = f"{flags} {flag}"
    subprocess.run(
        [sys.executable, "-c", TWO_DEVICES], env=environment, check=True
    )


def test_finer_levels_are_left_out():
    class Recorder:
        def decode(self, maps):
            return np.concatenate([x.reshape(2, -1) for x in maps], axis=1)

    levels = [Level("top", 1, 2, 5), Level("bottom", 2, 2, 5)]
    decode = partial_decoder(Recorder(), levels)
    top, bottom = (np.full((2, *level.shape), 3) for level in levels)
    expected = [[3, 3, -1, -1, -1, -1]] * 2
    np.testing.assert_array_equal(decode([top]), expected)
    np.testing.assert_array_equal(decode([top, bottom]), np.full((2, 6), 3))

"""Batches whose parts are computed one after another."""

import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.helpers import array
from tests.helpers import arrays
from tests.training import small

pytestmark = pytest.mark.any_backend


# PixelSNAIL's batch statistics are of a part.
@pytest.mark.parametrize("name", ["transformer", "maskgit"])
def test_parts_of_a_batch_make_the_step_of_the_whole(name):
    found = []
    for parts in (1, 2):
        trainer = small.make_trainer(
            name, random=False, accumulation_steps=parts
        )
        outputs = trainer.run(1)
        # Adam's first moment is a tenth of the gradient.
        found.append((outputs, arrays(trainer._optimizer.variables)))
    (whole, variables), (parts, others) = found
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    assert parts[1].keys() == whole[1].keys()
    for key, expected in whole[1].items():
        assert parts[1][key] == pytest.approx(float(expected), rel=1e-5)
    for expected, value in zip(variables, others, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)


def test_each_part_draws_its_own_random_numbers():
    states = []
    for parts, steps in ((1, 1), (1, 2), (2, 1)):
        trainer = small.make_trainer("prior", accumulation_steps=parts)
        trainer.run(steps)
        seeds = [
            array(v)
            for v in trainer._model.non_trainable_variables
            if "seed" in v.path
        ]
        states.append(np.stack(seeds))
    one, two, parts = states
    assert np.any(one != two)
    np.testing.assert_array_equal(parts, two)


TWO_DEVICES = """
import sys

import keras

from tests.training import small
from vqvae2_tf.training.devices import open_devices

if keras.backend.backend() == "jax":
    devices = open_devices("auto")
else:
    import tensorflow as tf

    from vqvae2_tf.training.tensorflow import TensorFlowDevices

    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    devices = TensorFlowDevices(strategy)
assert devices.count == 2
trainer = small.make_trainer(
    "prior", random=False, devices=devices, accumulation_steps=2
)
trainer.run(2)
trainer.save(sys.argv[1])
"""


@pytest.mark.large
def test_parts_on_two_devices_end_where_those_of_one_do(tmp_path):
    flags = "--xla_force_host_platform_device_count=2"
    subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, str(tmp_path / "two")],
        env={**os.environ, "PYTHONPATH": os.getcwd(), "XLA_FLAGS": flags},
        check=True,
    )
    trainer = small.make_trainer(
        "prior", random=False, devices="one", accumulation_steps=2
    )
    trainer.run(2)
    trainer.save(str(tmp_path / "one"))
    one, two = (
        load_file(tmp_path / name / "state.safetensors")
        for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for name, expected in one.items():
        np.testing.assert_allclose(
            two[name], expected, atol=1e-5, rtol=1e-5, err_msg=name
        )

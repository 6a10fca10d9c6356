"""Networks keep their constructors' arguments, and refuse wrong ones."""

import inspect
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.helpers import array
from tests.helpers import conditions
from tests.helpers import make_levels
from tests.helpers import make_prior
from tests.helpers import run
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.flags import Flag
from vqvae2_tf.level import Level
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.trainable import Trainable

pytestmark = pytest.mark.any_backend


class Toy(Trainable):
    """Neither registered with Keras nor with a `get_config`."""

    FLAGS = (
        Flag("units", 3, "Width.", 1, 9),
        Flag("mode", "add", "What it does.", choices=("add", "multiply")),
        Flag("factors", (2,), "Factors.", 1, many=True),
        Flag("path", None, "A file.", path=True),
    )

    def __init__(
        self,
        level,
        coarser=(),
        units=3,
        mode="add",
        factors=(2,),
        path=None,
        **others,
    ):
        super().__init__(**others)
        self.level = Level.of(level)
        self.coarser = [Level.of(other) for other in coarser]
        self.factors = factors
        self.dense = keras.layers.Dense(units, dtype=self.dtype_policy)

    def build(self, x_shape):
        self.dense.build(x_shape)

    def call(self, x):
        return self.dense(x)


class Child(Toy):
    """With a constructor of its own, and further flags."""

    FLAGS = (*Toy.FLAGS, Flag("depth", 1, "Layers.", 1))

    def __init__(self, *args, depth=1, **kwargs):
        super().__init__(*args, **kwargs)
        self.depth = depth


LEVELS = [*make_levels([(1, 2)], 4), Level("bottom", 2, 4, None, channels=3)]


def saved_and_loaded(network, path):
    network.save(path / "network.keras")
    return keras.saving.load_model(path / "network.keras")


@pytest.mark.parametrize("is_positional", [True, False])
def test_a_network_is_loaded_with_its_arguments(tmp_path, is_positional):
    if is_positional:
        toy = Toy(LEVELS[1], LEVELS[:1], 5, "multiply", (2, 4))
    else:
        toy = Toy(
            level=LEVELS[1],
            coarser=LEVELS[:1],
            units=5,
            mode="multiply",
            factors=(2, 4),
            name="given_name",
            dtype=keras.DTypePolicy("mixed_bfloat16"),
        )
    toy.build((None, 3))
    loaded = saved_and_loaded(toy, tmp_path)
    assert type(loaded) is Toy
    assert loaded.level == LEVELS[1]
    assert list(loaded.coarser) == LEVELS[:1]
    assert list(loaded.factors) == [2, 4]
    assert loaded.name == toy.name
    assert loaded.dtype_policy.name == toy.dtype_policy.name
    assert loaded.dense.units == 5
    np.testing.assert_array_equal(loaded.dense.kernel, toy.dense.kernel)
    assert loaded.get_config() == toy.get_config()


def test_a_networks_subclass_is_loaded_with_its_arguments(tmp_path):
    child = Child(level=LEVELS[0], units=5, depth=2)
    child.build((None, 3))
    loaded = saved_and_loaded(child, tmp_path)
    assert type(loaded) is Child
    assert (loaded.depth, loaded.dense.units) == (2, 5)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"units": 0}, "units"),
        ({"units": 10}, "units"),
        ({"units": 2.5}, "units"),
        ({"units": "3"}, "units"),
        ({"units": float("nan")}, "units"),
        ({"mode": "divide"}, "mode"),
        ({"factors": (2, 0)}, "factors"),
    ],
)
@pytest.mark.parametrize("toy_class", [Toy, Child])
def test_values_out_of_range_are_refused(toy_class, arguments, name):
    with pytest.raises(ValueError, match=f"`{name}`: expected"):
        toy_class(level=LEVELS[0], **arguments)


def test_positional_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="`units`: expected.*Received: 0$"):
        Toy(LEVELS[0], (), 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"level": LEVELS[0], "unit": 3}, ValueError, "unit"),
        ({}, TypeError, "level"),
    ],
)
def test_unknown_and_missing_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Toy(**arguments)


@pytest.mark.parametrize("network_class", [VQVAE2, PixelSNAIL])
def test_flags_are_the_constructors_arguments(network_class):
    parameters = inspect.signature(network_class).parameters
    flags = {flag.name: flag.default for flag in network_class.FLAGS}
    context = {"channels", "seed", "level", "coarser", "num_classes", "kwargs"}
    assert set(flags) == set(parameters) - context
    for name, default in flags.items():
        assert parameters[name].default == default, name


LOADER = """
import sys
import keras
import numpy as np
import vqvae2_tf.autoencoders
import vqvae2_tf.priors
folder = sys.argv[1]
inputs = np.load(f"{folder}/inputs.npz")
model = keras.saving.load_model(f"{folder}/model.keras")
prior = keras.saving.load_model(f"{folder}/prior.keras")
np.savez(
    f"{folder}/outputs.npz",
    images=model.decode([inputs["top"], inputs["bottom"]]),
    logits=prior(inputs["codes"], inputs["labels"], [inputs["coarser"]]),
)
"""


def test_networks_are_loaded_in_another_process(tmp_path):
    model = VQVAE2(
        strides=(2, 2),
        hidden_units=4,
        residual_units=2,
        residual_layers=1,
        num_codes=5,
        code_dim=3,
    )
    model.build((None, 8, 12, 3))
    prior = make_prior(
        [(2, 3), (4, 6)],
        (4, 7),
        layers=1,
        attention_every=0,
        conditioning_blocks=0,
        num_classes=3,
    )
    given = conditions(prior, 1)
    codes = np.arange(24).reshape(1, 4, 6) % 5
    inputs = {
        "top": codes[:, :2, :3],
        "bottom": codes,
        "codes": codes,
        "labels": given["labels"],
        "coarser": given["coarser"][0],
    }
    model.save(tmp_path / "model.keras")
    prior.save(tmp_path / "prior.keras")
    np.savez(tmp_path / "inputs.npz", **inputs)
    subprocess.run(
        [sys.executable, "-c", LOADER, str(tmp_path)],
        cwd=pathlib.Path(__file__).parent.parent,
        check=True,
    )
    outputs = np.load(tmp_path / "outputs.npz")
    images = array(run(model.decode, [codes[:, :2, :3], codes]))
    logits = array(run(lambda x: prior(x, **given), codes))
    np.testing.assert_allclose(outputs["images"], images, atol=1e-5)
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-5)

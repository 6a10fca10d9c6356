"""Training on TensorFlow: resume, evaluation, and replicas as one device."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.summary.summary_iterator import summary_iterator

from tests.helpers import array
from tests.helpers import arrays
from tests.helpers import integers
from tests.helpers import normal
from tests.helpers import one_shard
from tests.training import small
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.data.batches import Examples
from vqvae2_tf.level import Level
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.training.loop import TrainingDivergedError
from vqvae2_tf.training.loop import fit
from vqvae2_tf.training.plan import TrainingPlan
from vqvae2_tf.training.precision import dtype_policy
from vqvae2_tf.training.summaries import TensorBoard
from vqvae2_tf.training.tensorflow import TensorFlowTrainer

ONE_DEVICE = tf.distribute.OneDeviceStrategy("CPU:0")


def images(count, seed=0):
    pixels = np.tanh(normal(count, 1, 1, 3, seed=seed))
    pixels = np.broadcast_to(pixels, (count, 8, 8, 3))

    def read(image, seed=None):
        return {"image": image}

    return Examples(
        one_shard(lambda: tf.data.Dataset.from_tensor_slices(pixels)),
        [count],
        read,
    )


def plan(steps=0, make_optimizer=lambda: keras.optimizers.Adam(1e-2)):
    return TrainingPlan(
        steps=steps,
        batch_size=4,
        make_optimizer=make_optimizer,
        polyak_decay=0.9,
        seed=0,
        steps_per_call=30,
        validate_every=30,
    )


def make(strategy=ONE_DEVICE, dtype="float32"):
    """A small autoencoder and its trainer."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = VQVAE2(
            strides=(2, 2),
            # With fewer, all units die in training.
            hidden_units=8,
            residual_units=2,
            residual_layers=1,
            num_codes=6,
            code_dim=3,
            dead_code_restart_steps=2,
            seed=0,
            dtype=dtype,
        )
        model.build((None, 8, 8, 3))
    return model, TensorFlowTrainer(model, images(10), plan(), strategy)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A model, its trainer, which is compiled once, and their first state."""
    folder = str(tmp_path_factory.mktemp("first"))
    model, trainer = make()
    trainer.counters.update(lowest=np.inf, validated=0)
    trainer.save(folder)
    return model, trainer, folder


@pytest.fixture
def untrained(compiled):
    """The compiled model and trainer, as if they were new."""
    model, trainer, folder = compiled
    trainer.restore(folder)
    return model, trainer


def state_of(trainer, folder):
    trainer.save(str(folder))
    return (folder / "state.safetensors").read_bytes()


def test_four_steps_are_two_and_in_a_new_process_two_more(untrained, tmp_path):
    _, trainer = untrained
    trainer.run(2)
    trainer.save(str(tmp_path / "two"))
    trainer.run(2)
    # Other draws and layers in between, as in another process.
    np.asarray(keras.random.normal((3,)))
    _, other = make()
    other.counters.update(lowest=0.0, validated=9)
    other.restore(str(tmp_path / "two"))
    assert (other.step, other.counters["lowest"]) == (2, np.inf)
    other.run(2)
    assert state_of(other, tmp_path) == state_of(trainer, tmp_path)


def test_steps_in_a_call_do_not_change_the_result(
    compiled, untrained, tmp_path
):
    _, trainer = untrained
    loss, statistics = trainer.run(4)
    expected = state_of(trainer, tmp_path)
    trainer.restore(compiled[-1])
    calls = [trainer.run(1) for _ in range(4)]
    assert trainer.step == 4
    assert state_of(trainer, tmp_path) == expected
    assert loss == pytest.approx(sum(loss for loss, _ in calls))
    assert statistics["images"] == 16
    for name, total in statistics.items():
        calls_total = sum(statistics[name] for _, statistics in calls)
        np.testing.assert_allclose(calls_total, total, rtol=1e-6)


def test_averages_are_in_the_model_for_a_block_and_at_the_end(untrained):
    model, trainer = untrained
    first = arrays(model.trainable_variables)
    trainer.run(1)
    second = arrays(model.trainable_variables)
    with trainer.averaged():
        averages = arrays(model.trainable_variables)
    # The first step's decay is 1 / 10.
    for a, b, average in zip(first, second, averages, strict=True):
        np.testing.assert_allclose(average, 0.1 * a + 0.9 * b, atol=1e-6)
    for a, b in zip(arrays(model.trainable_variables), second, strict=True):
        np.testing.assert_array_equal(a, b)
    trainer.assign_averages()
    for a, b in zip(arrays(model.trainable_variables), averages, strict=True):
        np.testing.assert_array_equal(a, b)


def test_evaluation_is_that_of_all_examples_at_once(untrained):
    model, trainer = untrained
    pixels = np.stack(list(images(6).open().as_numpy_iterator()))
    metrics = model.metrics_from_statistics(trainer.evaluate(images(6), 4))
    restored = np.clip(array(model(pixels)["reconstruction"]), -1, 1)
    assert metrics["mse"] == pytest.approx(
        np.mean((restored - pixels) ** 2) / 4, rel=1e-5
    )


def train(model, trainer, folder, steps=60):
    # Of the images trained on: noise does not predict other noise.
    return fit(
        model,
        trainer,
        images(10),
        plan(steps),
        str(folder),
        "test",
        TensorBoard(str(folder / "logs")),
    )


@pytest.fixture(scope="module")
def trained(compiled, tmp_path_factory):
    """The folder of 60 steps of training, and their metrics."""
    model, trainer, first = compiled
    folder = tmp_path_factory.mktemp("trained")
    trainer.restore(first)
    return folder, train(model, trainer, folder)


def test_training_lowers_the_error(compiled, untrained, trained):
    model, trainer = untrained
    first = model.metrics_from_statistics(trainer.evaluate(images(10), 4))
    folder, metrics = trained
    assert metrics["mse"] < 0.6 * first["mse"]
    # The last weights are the best ones here; they are the averages.
    trainer.restore(str(folder))
    trainer.assign_averages()
    best = keras.saving.load_model(folder / "best.keras")
    for a, b in zip(
        model.trainable_variables, best.trainable_variables, strict=True
    ):
        np.testing.assert_array_equal(array(a), array(b))


def test_weights_of_a_file_are_loaded(untrained, trained):
    model, trainer = untrained
    trainer.load_weights(str(trained[0] / "best.keras"))
    best = keras.saving.load_model(trained[0] / "best.keras")
    for a, b in zip(model.weights, best.weights, strict=True):
        np.testing.assert_array_equal(array(a), array(b))


@pytest.mark.large
def test_training_in_bfloat16_ends_near_float32(trained, tmp_path):
    model, trainer = make(dtype=dtype_policy("bfloat16"))
    metrics = train(model, trainer, tmp_path)
    assert all(np.isfinite(array(v)).all() for v in model.variables)
    assert metrics["mse"] == pytest.approx(trained[1]["mse"], rel=0.2)


def test_tensorboard_gets_losses_metrics_and_reconstructions(trained):
    (path,) = (trained[0] / "logs").glob("events*")
    values = [
        value
        for event in summary_iterator(str(path))
        for value in event.summary.value
    ]
    tags = {value.tag for value in values}
    assert {"train/loss", "train/learning_rate", "train/top_usage"} <= tags
    assert "validation/psnr" in tags
    shown = [v for v in values if v.tag == "validation/reconstructions"]
    assert len(shown) == 2  # One a validation.
    width, height, *pixels = shown[0].tensor.string_val
    assert (width, height, len(pixels)) == (b"8", b"16", 8)


def test_training_of_weights_that_are_no_numbers_ends(untrained, tmp_path):
    model, trainer = untrained
    bias = model.decoder.trainable_variables[-1]
    bias.assign(np.nan * bias.value)
    with pytest.raises(TrainingDivergedError, match="nan at step 30"):
        train(model, trainer, tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


def test_each_objective_trains_its_own_variables(tmp_path):
    pairs = {"x": np.full((4, 1), 3.0), "y": np.full((4, 1), 5.0)}
    examples = Examples(
        one_shard(
            lambda: tf.data.Dataset.from_tensor_slices(
                {k: v.astype("float32") for k, v in pairs.items()}
            )
        ),
        [4],
        lambda pair, seed=None: pair,
    )
    with ONE_DEVICE.scope():
        model = small.Adversaries()
        model.build()
    sgd = plan(make_optimizer=lambda: keras.optimizers.SGD(0.1))
    trainer = TensorFlowTrainer(model, examples, sgd, ONE_DEVICE)
    small.check_adversaries(trainer, model)
    trainer.save(str(tmp_path))
    trainer.restore(str(tmp_path))
    assert trainer.step == 2


class Rows(keras.Model):
    """The mean of some rows of a table, in which rows may be repeated."""

    def __init__(self):
        super().__init__()
        self.table = keras.layers.Embedding(3, 1)

    def build(self, input_shape=None):
        self.table.build()

    def objectives(self):
        return {"loss": self.trainable_variables}

    def loss_and_statistics(self, batch, training=False):
        loss = keras.ops.mean(self.table(batch["row"]))
        return loss, {"loss": loss}


def test_an_embeddings_squared_gradient_is_that_of_all_its_uses():
    rows = np.int32([0, 0, 0, 2])
    examples = Examples(
        one_shard(lambda: tf.data.Dataset.from_tensor_slices({"row": rows})),
        [4],
        lambda row, seed=None: row,
    )
    with ONE_DEVICE.scope():
        model = Rows()
        model.build()
    adam = plan(make_optimizer=lambda: keras.optimizers.Adam(0.1, beta_2=0.5))
    trainer = TensorFlowTrainer(model, examples, adam, ONE_DEVICE)
    trainer.run(1)
    (velocity,) = (
        v for v in trainer._optimizer.variables if "velocity" in v.name
    )
    gradient = np.array([0.75, 0.0, 0.25])
    np.testing.assert_allclose(array(velocity)[:, 0], 0.5 * gradient**2)


REPLICAS = """
import sys

import keras
import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
from tests.training import test_tensorflow
from vqvae2_tf.layers.recomputation import DrawnSeed

folder = sys.argv[1]
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
model, trainer = test_tensorflow.make(strategy)
trainer.counters.update(lowest=np.inf, validated=0)
one = load_file(f"{folder}/six/state.safetensors")

def check_like_one_device():
    trainer.save(f"{folder}/replicas")
    two = load_file(f"{folder}/replicas/state.safetensors")
    for name in one:
        np.testing.assert_allclose(
            one[name], two[name], atol=1e-5, rtol=1e-5, err_msg=name
        )
    for variable in (v.value for v in model.trainable_variables):
        for value in variable.values:
            np.testing.assert_array_equal(value, variable.values[0])

trainer.run(6)
check_like_one_device()
trainer.restore(f"{folder}/two")
trainer.run(4)
check_like_one_device()
with trainer.averaged():
    statistics = trainer.evaluate(test_tensorflow.images(6, seed=1), 4)
for name, expected in np.load(f"{folder}/statistics.npz").items():
    np.testing.assert_allclose(
        statistics[name], expected, atol=1e-5, rtol=1e-5, err_msg=name
    )
with strategy.scope():
    generator = keras.random.SeedGenerator(0)
seeds = strategy.run(lambda: DrawnSeed(generator).next())
one, two = (seed.numpy().tolist() for seed in seeds.values)
assert one != two, one
"""


def run_program(program, *arguments):
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.large
def test_two_replicas_end_where_one_device_does(untrained, tmp_path):
    _, trainer = untrained
    trainer.run(2)
    trainer.save(str(tmp_path / "two"))
    trainer.run(4)
    trainer.save(str(tmp_path / "six"))
    with trainer.averaged():
        statistics = trainer.evaluate(images(6, seed=1), 4)
    np.savez(tmp_path / "statistics.npz", **statistics)
    run_program(REPLICAS, tmp_path)


REPLICAS_OF_OTHERS = """
import sys

import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
from tests.training import small
from vqvae2_tf.training.tensorflow import TensorFlowDevices

name, folder = sys.argv[1:]
strategies = [
    tf.distribute.OneDeviceStrategy("CPU:0"),
    tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
]
# Each replica has its own masks of dropout, which priors go without here.
random = name not in small.PRIORS
states = []
for strategy in strategies:
    devices = TensorFlowDevices(strategy)
    trainer = small.make_trainer(name, random, devices=devices)
    trainer.run(4)
    trainer.save(folder)
    states.append(load_file(f"{folder}/state.safetensors"))
one, two = states
for name, expected in one.items():
    np.testing.assert_allclose(
        two[name], expected, atol=1e-5, rtol=1e-5, err_msg=name
    )
"""


@pytest.mark.parametrize(
    "name",
    [
        "transformer",  # The quickest.
        *(
            pytest.param(name, marks=pytest.mark.large)
            for name in ("ms_vqvae", "hr_vqvae", "prior", "maskgit")
        ),
    ],
)
def test_two_replicas_of_other_networks_do_so_too(name, tmp_path):
    run_program(REPLICAS_OF_OTHERS, name, tmp_path)


def code_maps(count, seed=0):
    codes = integers(5, count, 4, 6, seed=seed)

    def read(i, seed=None):
        return {"codes": (tf.gather(codes, i),), "label": tf.constant(0)}

    return Examples(
        one_shard(lambda: tf.data.Dataset.range(count)),
        [count],
        read,
    )


def make_prior(strategy, rematerialize, dtype):
    """A small prior and its trainer."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = PixelSNAIL(
            Level("top", 4, 6, 5),
            hidden_units=8,
            residual_units=6,
            layers=1,
            attention_every=1,
            heads=2,
            kernel_size=3,
            dropout=0.5,
            rematerialize=rematerialize,
            dtype=dtype,
        )
        model.build()
    return model, TensorFlowTrainer(model, code_maps(4), plan(), strategy)


DROPOUT = """
import keras
import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
from tests.helpers import SMALL_PRIOR
from tests.helpers import normal
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.level import Level
from vqvae2_tf.priors import MaskGIT
from vqvae2_tf.priors import PixelSNAIL

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
one, three = ([np.ones((8, 2, 3), "int32")], np.arange(8, dtype="int32") % 3)
CODES = {"codes": one, "label": three}

def prior(**rates):
    rates = {"dropout": 0.0, "label_dropout": 0.0, **rates}
    small = {**SMALL_PRIOR, **rates}
    model = PixelSNAIL(Level("top", 2, 3, 5), num_classes=3, **small)
    model.build()
    # Labels have no effect yet.
    for variable in model.trainable_variables:
        variable.assign(0.5 * normal(*variable.shape))
    return model, CODES

def autoencoder():
    model = VQVAE2(
        strides=(2, 2), hidden_units=4, residual_units=2, residual_layers=1,
        num_codes=6, code_dim=3, level_dropout=0.5,
    )
    model.build((None, 8, 8, 3))
    return model, {"image": normal(8, 8, 8, 3)}

def losses(make):
    # Both replicas have the same examples; each has two steps.
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model, batch = make()
    batch = tf.nest.map_structure(tf.constant, batch)
    step = tf.function(lambda: strategy.run(
        lambda: model.loss_and_statistics(batch, training=True)[0]
    ))
    return [[float(x) for x in step().values] for _ in range(2)]

def maskgit():
    level = Level("top", 2, 3, 5)
    model = MaskGIT(level, hidden_units=8, layers=1, heads=2, dropout=0.0)
    model.build()
    return model, CODES

for make in (
    lambda: prior(dropout=0.5),
    maskgit,
    lambda: prior(label_dropout=0.5),
    autoencoder,
):
    found = losses(make)
    assert len(set(np.ravel(found))) == 4, found
    assert losses(make) == found
one, two = losses(prior)
assert one == two and one[0] == one[1]
"""


@pytest.mark.large
def test_replicas_drop_other_values_and_repeat_with_the_seed():
    run_program(DROPOUT)


REMATERIALIZED = """
import sys

import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
from tests.helpers import arrays
from tests.training import test_tensorflow

results = []
for rematerialize in (False, True):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    model, trainer = test_tensorflow.make_prior(
        strategy, rematerialize, sys.argv[1]
    )
    trainer.run(2)
    results.append(arrays(model.variables))
for a, b in zip(*results, strict=True):
    if sys.argv[1] == "float32":
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4)
    else:
        # A step of Adam is 0.01 even where a gradient's sign is in doubt.
        assert np.mean(np.abs(a.astype("float64") - b)) < 0.01
"""


@pytest.mark.large
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_rematerialized_training_on_two_replicas_is_the_same(dtype):
    run_program(REMATERIALIZED, dtype)

"""The training loop: resume, evaluation, and replicas as one device."""

import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.summary.summary_iterator import summary_iterator

from tests.helpers import array
from tests.helpers import integers
from tests.helpers import normal
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.data.batches import Examples
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.training.loop import Evaluation
from vqvae2_tf.training.loop import Plan
from vqvae2_tf.training.loop import TrainingDivergedError
from vqvae2_tf.training.loop import TrainingStoppedError
from vqvae2_tf.training.loop import fit


def pictures(count, seed=0):
    images = np.tanh(normal(count, 1, 1, 3, seed=seed))
    images = np.broadcast_to(images, (count, 8, 8, 3))

    def read(image):
        return {"image": image}

    return Examples(
        lambda: tf.data.Dataset.from_tensor_slices(images),
        count,
        read,
        lambda image, seed: read(image),
    )


def make_model(strategy, hidden_units=4):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = VQVAE2(
            strides=(2, 2),
            hidden_units=hidden_units,
            residual_units=2,
            num_residual_layers=1,
            num_codes=6,
            code_dim=3,
            restart_after=2,
            seed=0,
        )
        model.build()
    return model


def make_wider_model(strategy):
    """One whose units do not all die in training."""
    return make_model(strategy, hidden_units=8)


def plan(steps, **changes):
    return Plan(
        **{
            "steps": steps,
            "batch_size": 4,
            "learning_rate": 1e-2,
            "polyak_decay": 0.9,
            "seed": 0,
            "steps_per_call": 3,
            "validate_every": 2,
            **changes,
        }
    )


def train(folder, steps, make=make_model, validation=None, **changes):
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    model = make(strategy)
    metrics = fit(
        model,
        pictures(10),
        validation or pictures(6, seed=1),
        plan(steps, **changes),
        str(folder),
        strategy,
        "test",
    )
    return [array(v) for v in model.variables], metrics


@pytest.fixture(scope="module")
def four_steps(tmp_path_factory):
    """Variables and metrics after four steps in one go."""
    return train(tmp_path_factory.mktemp("whole"), 4)


def test_training_four_steps_is_two_stop_and_two_more(four_steps, tmp_path):
    whole, whole_metrics = four_steps
    train(tmp_path / "parts", 2)
    # Other draws in between, as in another process.
    np.asarray(keras.random.normal((3,)))
    parts, parts_metrics = train(tmp_path / "parts", 4)
    assert whole_metrics == parts_metrics
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)


def make_impatient_model(strategy):
    """A model whose training is asked to stop during its first call."""
    model = make_model(strategy)
    metrics_of = model.metrics_from_statistics

    def ask_to_stop(statistics):
        os.kill(os.getpid(), signal.SIGTERM)
        return metrics_of(statistics)

    model.metrics_from_statistics = ask_to_stop
    return model


def test_asked_to_stop_it_stops_with_a_checkpoint(four_steps, tmp_path):
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingStoppedError, match="after 1 of 4 steps"):
        train(tmp_path, 4, make_impatient_model, steps_per_call=1)
    assert signal.getsignal(signal.SIGTERM) == handler
    parts, _ = train(tmp_path, 4)
    for one, other in zip(four_steps[0], parts, strict=True):
        np.testing.assert_array_equal(one, other)


def test_stopped_before_a_validation_it_makes_up_for_it(tmp_path):
    _, metrics = train(tmp_path / "whole", 2, validate_every=2)
    with pytest.raises(TrainingStoppedError, match="after 2 of 2 steps"):
        train(tmp_path / "parts", 2, make_impatient_model, validate_every=2)
    assert not (tmp_path / "parts" / "best.keras").exists()
    assert train(tmp_path / "parts", 2, validate_every=2)[1] == metrics
    assert (tmp_path / "parts" / "best.keras").exists()


def test_the_best_weights_are_kept_when_later_ones_are_worse(tmp_path):
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([20], [1e-2, 1.0])
    _, last = train(tmp_path, 24, learning_rate=rates, validate_every=4)
    best = keras.saving.load_model(tmp_path / "best.keras")
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    metrics = Evaluation(best, pictures(6, seed=1), 4, strategy)()
    assert metrics["mse"] < 0.9 * last["mse"]


def test_tensorboard_gets_losses_metrics_and_reconstructions(tmp_path):
    train(tmp_path, 2)
    (path,) = (tmp_path / "logs").glob("events*")
    values = [
        value
        for event in summary_iterator(str(path))
        for value in event.summary.value
    ]
    tags = {value.tag for value in values}
    assert {"train/loss", "validation/psnr", "train/top_usage"} <= tags
    (shown,) = [v for v in values if v.tag == "validation/reconstructions"]
    width, height, *images = shown.tensor.string_val
    assert (width, height, len(images)) == (b"8", b"16", 6)


def test_steps_in_a_call_do_not_change_the_result(four_steps, tmp_path):
    one, _ = train(tmp_path, 4, steps_per_call=1, validate_every=4)
    for a, b in zip(one, four_steps[0], strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_lowers_the_loss_and_logs(tmp_path):
    # Of the pictures trained on: noise tells nothing of other noise.
    early, late = (
        train(
            tmp_path / str(n),
            n,
            make_wider_model,
            validation=pictures(10),
            validate_every=n,
        )
        for n in (4, 60)
    )
    assert late[1]["mse"] < 0.8 * early[1]["mse"]
    assert list((tmp_path / "60" / "logs").glob("events*"))


def test_evaluation_is_that_of_all_examples_at_once():
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    model = make_model(strategy)
    examples = pictures(6)
    images = np.stack([x.numpy() for x in examples.open()])
    metrics = Evaluation(model, examples, 4, strategy)()
    restored = array(model(images)["reconstruction"])
    assert metrics["mse"] == pytest.approx(
        np.mean((restored - images) ** 2) / 4, rel=1e-5
    )


def test_a_diverging_loss_stops_with_its_step(tmp_path):
    with pytest.raises(TrainingDivergedError, match="step"):
        train(tmp_path, 20, learning_rate=1e20, steps_per_call=1)


def code_maps(count, seed=0):
    codes = integers(5, count, 4, 6, seed=seed)

    def read(i):
        return {"codes": (tf.gather(codes, i),), "label": tf.constant(0)}

    return Examples(
        lambda: tf.data.Dataset.range(count),
        count,
        read,
        lambda i, seed: read(i),
    )


def make_prior(strategy, rematerialize, dtype):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = PixelSNAIL(
            map_size=(4, 6),
            num_codes=5,
            hidden_units=8,
            residual_units=6,
            num_layers=1,
            attention_every=1,
            num_heads=2,
            kernel_size=3,
            dropout=0.5,
            rematerialize=rematerialize,
            dtype=dtype,
        )
        model.build()
    return model


REPLICAS = """
import keras
import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
from tests.training import test_loop
from tests.helpers import array
from vqvae2_tf.layers.recomputation import DrawnSeed
from vqvae2_tf.training.loop import fit
import sys

results = []
for number, strategy in enumerate([
    tf.distribute.OneDeviceStrategy("CPU:0"),
    tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
]):
    model = test_loop.make_model(strategy)
    metrics = fit(
        model, test_loop.pictures(10), test_loop.pictures(6, seed=1),
        test_loop.plan(6), f"{sys.argv[1]}/{number}", strategy, "test",
    )
    results.append(([array(v) for v in model.variables], metrics))
(one, one_metrics), (two, two_metrics) = results
for a, b in zip(one, two, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4)
for name in one_metrics:
    np.testing.assert_allclose(one_metrics[name], two_metrics[name], rtol=1e-4)
with strategy.scope():
    generator = keras.random.SeedGenerator(0)
seeds = strategy.run(lambda: DrawnSeed(generator).next())
one, two = (seed.numpy().tolist() for seed in seeds.values)
assert one != two, one
"""


def test_two_replicas_end_where_one_device_does(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", REPLICAS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]


REMATERIALIZED = """
import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
from tests.training import test_loop
from tests.helpers import array
from vqvae2_tf.training.loop import fit
import sys

folder, dtype = sys.argv[1:]
results = []
for rematerialize in (False, True):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    model = test_loop.make_prior(strategy, rematerialize, dtype)
    fit(
        model, test_loop.code_maps(4), test_loop.code_maps(4, seed=1),
        test_loop.plan(2), f"{folder}/{rematerialize}", strategy, "test",
    )
    results.append([array(v) for v in model.variables])
for a, b in zip(*results, strict=True):
    if dtype == "float32":
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4)
    else:
        # A step of Adam is 0.01 even where a gradient's sign is in doubt.
        assert np.mean(np.abs(a.astype("float64") - b)) < 0.01
"""


@pytest.mark.large
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_rematerialized_training_on_two_replicas_is_the_same(tmp_path, dtype):
    result = subprocess.run(
        [sys.executable, "-c", REMATERIALIZED, str(tmp_path), dtype],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]

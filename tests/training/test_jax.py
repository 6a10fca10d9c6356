"""Training on JAX: as on TensorFlow, on any number of devices, resumed."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.helpers import array
from tests.helpers import arrays
from tests.training import small
from vqvae2_tf.data.arrays import ArrayExamples
from vqvae2_tf.errors import UserError
from vqvae2_tf.training.state import STATE_FILE

pytestmark = [
    pytest.mark.any_backend,
    pytest.mark.skipif(
        keras.backend.backend() != "jax", reason="trains on JAX"
    ),
]
NETWORKS = (
    *("autoencoder", "prior"),
    pytest.param("ms_vqvae", marks=pytest.mark.large),
    pytest.param("hr_vqvae", marks=pytest.mark.large),
    pytest.param("transformer", marks=pytest.mark.large),
    pytest.param("maskgit", marks=pytest.mark.large),
)
TWO_DEVICES = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=2"
)


def run_program(program, *arguments, **environment):
    run_programs(program, arguments, [environment])


def run_programs(program, arguments, environments):
    """One process at the same time for each of some environments."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": os.getcwd(), **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for environment in environments
    ]
    errors = [process.communicate()[1] for process in processes]
    for process, error in zip(processes, errors, strict=True):
        assert process.returncode == 0, error[-3000:]


def two_workers():
    """TF_CONFIG of two processes of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    cluster = {"worker": [f"127.0.0.1:{port}", "127.0.0.1:1"]}
    return [
        json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})
        for i in range(2)
    ]


def state_of(folder):
    return load_file(folder / STATE_FILE)


def assert_same_state(one, other, tolerance):
    one, other = state_of(one), state_of(other)
    assert one.keys() == other.keys()
    for name, expected in one.items():
        # Counts, of steps and of random draws, have a dtype a backend.
        exact = expected.dtype.kind != "f"
        np.testing.assert_allclose(
            other[name],
            expected,
            rtol=0 if exact else tolerance,
            atol=0 if exact else tolerance,
            err_msg=name,
        )


TENSORFLOW = """
import sys

import numpy as np

from tests.training import small

name, folder = sys.argv[1:]
trainer = small.make_trainer(name, random=False)
trainer.restore(f"{folder}/first")
loss, statistics = trainer.run(1)
np.savez(f"{folder}/outputs.npz", loss=loss, **statistics)
trainer.save(f"{folder}/tensorflow_1")
trainer.run(1)
trainer.save(f"{folder}/tensorflow_2")
trainer.restore(f"{folder}/jax_1")
trainer.run(1)
trainer.save(f"{folder}/jax_then_tensorflow")
"""


@pytest.mark.parametrize(
    "name",
    [
        "autoencoder",
        pytest.param("prior", marks=pytest.mark.large),
        *NETWORKS[2:],
    ],
)
def test_a_step_is_that_of_tensorflow_and_each_goes_on_with_the_other(
    name, tmp_path
):
    trainer = small.make_trainer(name, random=False)
    trainer.save(str(tmp_path / "first"))
    loss, statistics = trainer.run(1)
    trainer.save(str(tmp_path / "jax_1"))
    run_program(TENSORFLOW, name, tmp_path, KERAS_BACKEND="tensorflow")
    outputs = dict(np.load(tmp_path / "outputs.npz"))
    assert loss == pytest.approx(outputs.pop("loss"), rel=1e-4)
    assert statistics.keys() == outputs.keys()
    for key, expected in outputs.items():
        np.testing.assert_allclose(statistics[key], expected, rtol=1e-4)
    # Adam's first momentum is a tenth of the gradient.
    assert_same_state(tmp_path / "tensorflow_1", tmp_path / "jax_1", 1e-4)
    trainer.restore(str(tmp_path / "tensorflow_1"))
    assert trainer.step == 1
    trainer.run(1)
    trainer.save(str(tmp_path / "tensorflow_then_jax"))
    for other in ("tensorflow_then_jax", "jax_then_tensorflow"):
        assert_same_state(tmp_path / "tensorflow_2", tmp_path / other, 1e-4)


DEVICES = """
import sys

import jax
import numpy as np

jax.config.update("jax_disable_most_optimizations", True)
from tests.training import small

name, shard, strategy, folder = sys.argv[1:]
shard = shard == "shared"
trainer = small.make_trainer(name, devices=strategy, shard_state=shard)
devices = trainer._devices
assert devices.count == 2
trainer.run(2)
if devices.share == (0, 1):
    trainer.save(f"{folder}/two")
    trainer.restore(f"{folder}/two")
trainer.run(2)
with trainer.averaged():
    data = small.codes(6) if name in small.PRIORS else small.images(6)
    statistics = trainer.evaluate(small.examples(data, 6), 4)
trainer.save(f"{folder}/two")
if devices.share[0] == 0:
    np.savez(f"{folder}/statistics.npz", **statistics)
optimizer = trainer._optimizer.variables
whole = sum(v.value.nbytes for v in optimizer)
own = sum(v.value.addressable_shards[0].data.nbytes for v in optimizer)
assert own < 0.7 * whole if shard else own == whole, (own, whole)
"""


@pytest.mark.parametrize(
    ("name", "shard", "strategy"),
    [
        ("autoencoder", "shared", "auto"),
        pytest.param("prior", "whole", "auto", marks=pytest.mark.large),
        pytest.param("ms_vqvae", "whole", "auto", marks=pytest.mark.large),
        pytest.param("hr_vqvae", "whole", "auto", marks=pytest.mark.large),
        pytest.param("transformer", "whole", "auto", marks=pytest.mark.large),
        pytest.param("maskgit", "whole", "auto", marks=pytest.mark.large),
        pytest.param(
            "autoencoder", "whole", "multi_worker", marks=pytest.mark.large
        ),
        pytest.param(
            "prior", "shared", "multi_worker", marks=pytest.mark.large
        ),
    ],
)
def test_two_devices_end_where_one_does_dropout_included(
    name, shard, strategy, tmp_path
):
    environments = [{"XLA_FLAGS": TWO_DEVICES}]
    if strategy == "multi_worker":
        environments = [{"TF_CONFIG": x} for x in two_workers()]
    run_programs(DEVICES, [name, shard, strategy, tmp_path], environments)
    trainer = small.make_trainer(name, devices="one")
    trainer.run(4)
    with trainer.averaged():
        data = small.codes(6) if name in small.PRIORS else small.images(6)
        statistics = trainer.evaluate(small.examples(data, 6), 4)
    trainer.save(str(tmp_path / "one"))
    assert_same_state(tmp_path / "one", tmp_path / "two", 1e-5)
    for key, expected in np.load(tmp_path / "statistics.npz").items():
        np.testing.assert_allclose(statistics[key], expected, rtol=1e-5)


def test_four_steps_are_two_and_after_a_restart_two_more(tmp_path):
    trainer = small.make_trainer("prior")
    trainer.run(2)
    trainer.save(str(tmp_path / "two"))
    trainer.run(2)
    trainer.save(str(tmp_path / "whole"))
    # Other draws in between, as in another process.
    np.asarray(keras.random.normal((3,)))
    other = small.make_trainer("prior")
    other.counters["lowest"] = 0.0
    other.restore(str(tmp_path / "two"))
    assert (other.step, other.counters["lowest"]) == (2, np.inf)
    for _ in range(2):  # Calls of one step each.
        other.run(1)
    other.save(str(tmp_path / "resumed"))
    one, two = (
        (tmp_path / name / STATE_FILE).read_bytes()
        for name in ("whole", "resumed")
    )
    assert one == two


def test_dropout_differs_from_step_to_step():
    trainer = small.make_trainer("prior", rate=0.0)
    data = small.codes(4)  # Every batch has all of them.
    trainer._examples = small.examples(data, 4)
    seeds = [v for v in trainer._model.variables if "seed" in v.name]
    before = arrays(seeds)
    one, other = (trainer.run(1)[0] for _ in range(2))
    assert abs(one - other) > 1e-3
    for seed, earlier in zip(seeds, before, strict=True):
        assert not np.array_equal(array(seed), earlier)


def test_averages_are_in_the_model_for_a_block_and_at_the_end():
    trainer = small.make_trainer("prior")
    variables = trainer._model.trainable_variables
    first = arrays(variables)
    trainer.run(1)
    second = arrays(variables)
    with trainer.averaged():
        averages = arrays(variables)
    # The first step's decay is 1 / 10.
    for a, b, average in zip(first, second, averages, strict=True):
        np.testing.assert_allclose(average, 0.1 * a + 0.9 * b, atol=1e-6)
    for a, b in zip(arrays(variables), second, strict=True):
        np.testing.assert_array_equal(a, b)
    trainer.assign_averages()
    for a, b in zip(arrays(variables), averages, strict=True):
        np.testing.assert_array_equal(a, b)
    trainer.run(1)  # Weights and averages are different arrays again.


def test_each_objective_trains_its_own_variables():
    from vqvae2_tf.training.jax import JaxDevices

    model = small.Adversaries()
    model.build()
    pairs = {"x": np.full((4, 1), 3.0), "y": np.full((4, 1), 5.0)}
    examples = ArrayExamples(
        {name: x.astype("float32") for name, x in pairs.items()}
    )
    plan = dataclasses.replace(
        small.plan(), make_optimizer=lambda: keras.optimizers.SGD(0.1)
    )
    trainer = JaxDevices().trainer(model, examples, plan)
    small.check_adversaries(trainer, model)


def test_the_host_runs_ahead_of_the_devices(monkeypatch):
    from vqvae2_tf.training import jax as trainer

    events = []

    def wait(output):
        events.append("wait")
        return output

    def outputs():
        for i in range(4):
            events.append(f"step {i}")
            yield {"loss": np.float32(i)}

    monkeypatch.setattr(trainer.jax, "device_get", wait)
    assert trainer._sums(outputs()) == {"loss": 6.0}
    assert events == [
        *["step 0", "step 1", "step 2", "wait", "step 3", "wait"],
        *["wait", "wait"],
    ]


def test_hosts_must_have_equally_many_devices(monkeypatch):
    from vqvae2_tf.training import jax as trainer

    ours = trainer.jax.devices()
    theirs = [types.SimpleNamespace(process_index=1)] * (len(ours) + 1)
    monkeypatch.setattr(trainer.hosts, "join", lambda: None)
    monkeypatch.setattr(trainer.jax, "process_count", lambda: 2)
    monkeypatch.setattr(trainer.jax, "devices", lambda: ours + theirs)
    with pytest.raises(UserError, match="same number of devices.*1: "):
        trainer.JaxDevices("multi_worker")


WITHOUT_TENSORFLOW = """
import sys

sys.modules["tensorflow"] = None
import jax
import keras
import numpy as np

jax.config.update("jax_disable_most_optimizations", True)
from vqvae2_tf.data.arrays import ArrayExamples
from vqvae2_tf.level import Level
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.training.devices import open_devices
from vqvae2_tf.training.loop import fit
from vqvae2_tf.training.plan import TrainingPlan


class Silent:
    scalars = images = lambda *_: None


codes = np.random.default_rng(0).integers(5, size=(6, 4, 6)).astype("int32")
examples = ArrayExamples({"codes": (codes,), "label": np.zeros(6, "int32")})
devices = open_devices("auto")
model = PixelSNAIL(
    Level("top", 4, 6, 5), hidden_units=4, residual_units=4, layers=1,
    attention_every=0, heads=2, kernel_size=3,
)
model.build()
plan = TrainingPlan(
    steps=4, batch_size=4, make_optimizer=lambda: keras.optimizers.Adam(1e-2),
    polyak_decay=0.9, seed=0, steps_per_call=2, validate_every=2,
)
trainer = devices.trainer(model, examples, plan)
metrics = fit(model, trainer, examples, plan, sys.argv[1], "prior", Silent())
assert 0 < metrics["nll"] < 3, metrics
assert not any(name.startswith("tensorflow.") for name in sys.modules)
"""


def test_arrays_train_where_tensorflow_is_not_installed(tmp_path):
    run_program(WITHOUT_TENSORFLOW, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "best.keras",
        STATE_FILE,
    }


COLLECTIVES = """
import re
import sys

import numpy as np

from tests.training import small

trainer = small.make_trainer(sys.argv[1])
devices = trainer._devices
assert devices.count == 2
batch = next(trainer._examples.training_arrays(4, 0))
values = devices.values(trainer._variables)
program = trainer._train_step.lower(values, devices.split(batch)).compile()
number = 0
for shapes, kind in re.findall(
    r"= (.*?) (all-\\w+|reduce-scatter|collective-permute)(?:-start)?\\(",
    program.as_text(),
):
    if kind == "all-gather" and sys.argv[1] == "hr_vqvae":
        # Where linked codebooks draw vectors, they sort the batch's codes.
        assert re.fullmatch(r"s32\\[16\\]\\S*", shapes), shapes
        continue
    assert kind == "all-reduce", kind
    for shape in re.findall(r"\\w+\\[([\\d,]*)\\]", shapes):
        number += int(np.prod([int(n) for n in shape.split(",") if n]))
weights = sum(np.size(v) for v in trainer._model.trainable_variables)
others = sum(np.size(v) for v in trainer._model.non_trainable_variables)
# Where a transformer adds rows' and columns' positions, it exchanges the
# gradient of each sum.
positions = 4 * 6 * 8 if sys.argv[1] == "transformer" else 0
# Gradients once; codebooks' sums and the vectors that may replace codes, or
# batch statistics and their gradients; counts of codes.
limit = 1.02 * weights + 3 * others + positions
assert weights <= number <= limit, (number, weights, others)
"""


@pytest.mark.large
@pytest.mark.parametrize("name", NETWORKS)
def test_devices_exchange_gradients_and_statistics_alone(name):
    run_program(COLLECTIVES, name, XLA_FLAGS=TWO_DEVICES)

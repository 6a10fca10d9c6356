"""Training steps and evaluation on JAX, on the devices of one host or more."""

import collections
import contextlib
import os
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.files import atomic
from vqvae2_tf.training import hosts
from vqvae2_tf.training import numerics
from vqvae2_tf.training.averages import Averages
from vqvae2_tf.training.batch_mesh import BatchMesh
from vqvae2_tf.training.loop import Examples
from vqvae2_tf.training.plan import TrainingPlan
from vqvae2_tf.training.plan import make_state
from vqvae2_tf.training.state import restore_state
from vqvae2_tf.training.state import save_state

# Steps that the host runs ahead of the devices: each holds its batch there.
_AHEAD = 2


class JaxDevices:
    """The `Devices` of the JAX backend.

    Each batch is split over the devices, and each device has all weights.
    Compiled functions compute with the whole batch: the means, the sums and the
    random numbers in them are those of one device.

    Attributes:
        mesh: The devices' `BatchMesh`.

    Args:
        strategy: `one`: the first device; `mirrored`: all GPUs of this host;
            `tpu`: all its TPUs; `auto`: all its devices of JAX's default kind;
            `multi_worker`: those of all hosts; see `hosts.join`.

    Raises:
        UserError: If there is no such device, or the hosts do not meet.
    """

    def __init__(self, strategy: str = "auto"):
        is_of_all = strategy == "multi_worker"
        if is_of_all:
            hosts.join()
        try:
            devices = jax.devices() if is_of_all else jax.local_devices()
        except Exception as error:  # Of many types, an AssertionError too.
            raise UserError(
                "JAX found none of the devices that JAX_PLATFORMS="
                f"{os.environ.get('JAX_PLATFORMS', '')} asks for, or cannot "
                f"use them: {one_line(error) or type(error).__name__}"
            ) from error
        self.share = 0, 1
        self.local = self
        if is_of_all:
            self.share = jax.process_index(), jax.process_count()
            counts = collections.Counter(d.process_index for d in devices)
            if len({counts[i] for i in range(jax.process_count())}) > 1:
                raise UserError(
                    "--strategy=multi_worker: expected the same number of "
                    f"devices on every host. Received: {dict(counts)}"
                )
            self.local = JaxDevices()
        # Of several hosts the first one writes the files.
        atomic.is_chief = self.share[0] == 0
        kind = {"mirrored": "gpu", "tpu": "tpu"}.get(strategy)
        if kind and devices[0].platform != kind:
            raise UserError(
                f"--strategy={strategy} found no {kind.upper()}: JAX has "
                f"{devices[0].device_kind}."
            )
        devices = devices[:1] if strategy == "one" else devices
        # Each host's are neighbours, as its rows of a batch are.
        devices = sorted(devices, key=lambda d: (d.process_index, d.id))
        self.count = len(devices)
        self._device = jax.local_devices()[0]
        self.mesh = BatchMesh(devices)

    @property
    def accelerator(self) -> tuple[str, bool] | None:
        kind = self._device.platform.upper()
        if kind == "GPU":
            capability = getattr(self._device, "compute_capability", "0")
            # AMD's begin with letters.
            number = capability if capability[:1].isdecimal() else "0"
            return kind, float(number) >= 8.0
        return None if kind == "CPU" else (kind, True)

    def on_any_host(self, is_so):
        if self.share[1] == 1:
            return is_so
        return bool(np.any(multihost_utils.process_allgather(is_so)))

    def barrier(self):
        self.on_any_host(False)

    def loss_reported(self):
        # JAX ends the others itself, and names the one that is lost.
        return contextlib.nullcontext()

    def scope(self):
        return contextlib.nullcontext()

    def trainer(self, model, examples, plan):
        return JaxTrainer(model, examples, plan, self)

    def evaluation(self, model):
        return make_evaluation(model, self)

    def encoding(self, model):
        encode = self.compile(model, model.encode)

        def outputs(make_batches):
            for batch in make_batches(None).as_numpy_iterator():
                yield jax.device_get(encode(batch.pop("image"))), batch

        return outputs

    def sampling(self, model, draw):
        compiled = self.compile(model, draw, place=lambda batch: batch)
        return lambda batch: np.asarray(compiled(batch))

    def values(
        self,
        variables: Sequence[keras.Variable],
        shardings: Sequence[NamedSharding] | None = None,
    ) -> list[jax.Array]:
        """Values of variables, which from then on are where they should be.

        Args:
            variables: The variables.
            shardings: One for each; if None, all are whole on every device.
        """
        shardings = shardings or [self.mesh.whole] * len(variables)
        values = []
        for variable, sharding in zip(variables, shardings, strict=True):
            values.append(self._put(variable.value, sharding))
            variable.assign(values[-1])
        return values

    def _put(self, value, sharding):
        if value.is_fully_addressable and not sharding.is_fully_addressable:
            # Every host has the same value. JAX would compare them all first.
            array = np.asarray(value)
            return jax.make_array_from_callback(
                array.shape, sharding, lambda index: array[index]
            )
        return jax.device_put(value, sharding)

    def split(self, batch):
        """A nest of arrays `[B, ...]`, of which each device has a part.

        Args:
            batch: This host's share of the batch.
        """
        put = partial(jax.make_array_from_process_local_data, self.mesh.split)
        return jax.tree.map(put, batch)

    def compile(
        self,
        model: keras.Model,
        function: Callable,
        place: Callable | None = None,
    ) -> Callable[[Mapping], Mapping]:
        """Compiles a function that leaves the model as it is.

        Args:
            model: What the function computes with.
            function: Function of a batch.
            place: Places a batch on the devices; by default `split`.

        Returns:
            Function of a batch, a nest of arrays of the host.
        """
        variables, place = model.variables, place or self.split

        @partial(jax.jit, out_shardings=self.mesh.whole)
        def pure(values, batch):
            with with_values(variables, values):
                return function(batch)

        def compiled(batch):
            return pure(self.values(variables), place(batch))

        return compiled


class JaxTrainer:
    """The `Trainer` of the JAX backend.

    Args:
        model: Built; see `Trainable`.
        examples: `Examples` to train on.
        plan: `TrainingPlan`.
        devices: `JaxDevices`.
    """

    def __init__(
        self,
        model: keras.Model,
        examples: Examples,
        plan: TrainingPlan,
        devices: JaxDevices,
    ):
        self.step = 0
        self.counters = {}
        self._model = model
        self._examples = examples
        self._plan = plan
        self._devices = devices
        self._batches = None
        with on_host():
            optimizers, self._averages, self._state = make_state(model, plan)
        self._optimizer = next(iter(optimizers.values()))
        self._variables = [v for part in self._state.values() for v in part]
        self._shardings = devices.mesh.of_state(self._state, plan.shard_state)
        step = make_train_step(
            model,
            optimizers,
            self._averages,
            self._variables,
            plan.accumulation_steps,
        )
        self._train_step = jax.jit(
            step,
            # The state before a step makes room for the one after it.
            donate_argnums=() if plan.check_numerics else 0,
            out_shardings=(self._shardings, devices.mesh.whole),
        )
        if plan.check_numerics:
            self._train_step = _checked(self._train_step, step)
        self.evaluate = make_evaluation(model, devices)

    @property
    def learning_rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self._optimizer.learning_rate))

    def run(self, count: int) -> tuple[float, dict[str, np.ndarray]]:
        if self._batches is None:
            self._batches = self._examples.training_arrays(
                self._plan.batch_size,
                self._plan.seed,
                self.step,
                self._devices.share,
            )
        values = self._devices.values(self._variables, self._shardings)

        def outputs():
            nonlocal values
            for _ in range(count):
                batch = self._devices.split(next(self._batches))
                values, output = self._train_step(values, batch)
                yield output

        loss, statistics = _sums(outputs())
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)
        self.step += count
        return float(loss), statistics

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        with self._averages.in_weights():
            # Averages may be in parts, and weights are whole.
            self._devices.values(self._model.trainable_variables)
            yield

    def assign_averages(self) -> None:
        self._averages.assign_to_weights()
        self._devices.values(self._model.trainable_variables)

    def load_weights(self, path: str) -> None:
        self._model.load_weights(path)

    def save(self, folder: str) -> None:
        state = self._state
        if self._plan.shard_state and self._devices.share[1] > 1:
            whole = self._devices.mesh.whole
            state = {
                part: [_Gathered(variable, whole) for variable in variables]
                for part, variables in state.items()
            }
        save_state(folder, state, self.counters)

    def restore(self, folder: str) -> None:
        with on_host():
            restore_state(folder, self._state, self.counters)
        self.step = int(self._optimizer.iterations.value)
        self._batches = None

    def on_any_host(self, is_so: bool) -> bool:
        return self._devices.on_any_host(is_so)


class _Gathered:
    """A variable whose parts all hosts gather, for the chief to write."""

    def __init__(self, variable, whole):
        self.name, self.shape = variable.name, variable.shape
        self.dtype = variable.dtype
        value = jax.device_put(variable.value, whole)
        self._array = np.asarray(value) if atomic.is_chief else None

    def __array__(self, dtype=None, copy=None):
        return self._array


def on_host() -> contextlib.AbstractContextManager:
    """A scope in which new arrays are in the host's memory, where there is one.

    A state that is kept in parts may be too large for one device.
    """
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # JAX_PLATFORMS has no CPU.
        return contextlib.nullcontext()


def make_evaluation(
    model: keras.Model, devices: JaxDevices
) -> Callable[[Examples, int], dict[str, np.ndarray]]:
    """Compiles a pass over examples; see `Devices.evaluation`."""
    step = devices.compile(
        model, lambda batch: model.loss_and_statistics(batch)[1]
    )

    def evaluate(examples, batch_size):
        batches = examples.evaluation_arrays(batch_size, devices.share)
        return _sums(map(step, batches))

    return evaluate


def make_train_step(
    model: keras.Model,
    optimizers: Mapping[str, keras.optimizers.Optimizer],
    averages: Averages,
    variables: Sequence[keras.Variable],
    accumulation_steps: int = 1,
) -> Callable:
    """A training step as a pure function.

    Args:
        model: See `Trainable`.
        optimizers: One for each of the model's objectives, built for its
            variables.
        averages: The averages of the model's trainable variables.
        variables: All variables: those of the model, of the optimizers and the
            averages.
        accumulation_steps: See `TrainingPlan`.

    Returns:
        Function of the values of `variables` and a batch to their next values,
        and to a tuple of the sum of the losses and the statistics.
    """
    objectives = model.objectives()
    trained, others = model.trainable_variables, model.non_trainable_variables

    def step(values, batch):
        def forward(weights, state, part):
            """The losses; the statistics and the others' next values."""
            with with_values(
                [*variables, *trained, *others], [*values, *weights, *state]
            ) as scope:
                losses, statistics = model.loss_and_statistics(
                    part, training=True
                )
                updated = [scope.get_current_value(v) for v in others]
            if not isinstance(losses, Mapping):
                losses = dict.fromkeys(objectives, losses)
            losses = {
                k: loss / accumulation_steps for k, loss in losses.items()
            }
            return losses, (statistics, updated)

        def differentiate(state, part):
            losses, backward, (statistics, updated) = jax.vjp(
                lambda weights: forward(weights, state, part),
                [v.value for v in trained],
                has_aux=True,
            )
            gradients = {
                name: _gradients(backward, losses, name) for name in objectives
            }
            return updated, (gradients, sum(losses.values()), statistics)

        with with_values(variables, values) as scope:
            updated, (gradients, loss, statistics) = _over_parts(
                differentiate,
                [v.value for v in others],
                batch,
                accumulation_steps,
            )
            for variable, value in zip(others, updated, strict=True):
                variable.assign(value)
            number = next(iter(optimizers.values())).iterations.value
            for name, own in objectives.items():
                by_variable = dict(
                    zip(map(id, trained), gradients[name], strict=True)
                )
                optimizers[name].apply([by_variable[id(v)] for v in own], own)
            averages.update(number)
            after = [scope.get_current_value(v) for v in variables]
        return after, (loss, statistics)

    return step


def _over_parts(function, state, batch, count):
    """Adds up results of equal parts of a batch, one after another.

    Args:
        function: Of a state and a part to the next state and the results.
        state: The first state.
        batch: A nest of arrays `[B, ...]`.
        count: Number of parts; divides B.

    Returns:
        Tuple of the last state and the sums.
    """
    if count == 1:
        return function(state, batch)
    # Of every part each device has as much as of the batch.
    parts = jax.tree.map(
        lambda x: x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1), batch
    )
    first = jax.tree.map(lambda x: x[0], parts)
    _, shapes = jax.eval_shape(function, state, first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def add(carry, part):
        state, results = function(carry[0], part)
        return (state, jax.tree.map(jnp.add, carry[1], results)), None

    return jax.lax.scan(add, (state, zeros), parts)[0]


def _checked(compiled, step):
    """A compiled step that names the first operation that is not finite."""

    @jax.jit
    def is_finite(outputs):
        floats = [
            x
            for x in jax.tree.leaves(outputs)
            if jnp.issubdtype(x.dtype, jnp.floating)
        ]
        return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in floats]))

    def checked(values, batch):
        outputs = compiled(values, batch)
        if not is_finite(outputs):
            try:
                # One operation at a time.
                with (
                    jax.disable_jit(),
                    jax.debug_nans(True),
                    jax.debug_infs(True),
                ):
                    step(values, batch)
            except FloatingPointError as error:
                raise numerics.from_jax(error) from error
        return outputs

    return checked


def _gradients(backward, losses, name):
    """Gradients of one of the losses."""
    cotangents = {
        other: jnp.full_like(loss, other == name)
        for other, loss in losses.items()
    }
    return backward(cotangents)[0]


def _sums(outputs):
    """Adds up the outputs of successive steps, as NumPy arrays.

    Waits for a step only when `_AHEAD` more are under way.
    """
    waiting, totals = collections.deque(), None

    def with_first():
        # float64, so that a long pass adds up exactly.
        first = jax.tree.map(np.float64, jax.device_get(waiting.popleft()))
        return jax.tree.map(np.add, totals, first) if totals else first

    for output in outputs:
        waiting.append(output)
        if len(waiting) > _AHEAD:
            totals = with_first()
    while waiting:
        totals = with_first()
    return totals


def with_values(variables, values):
    """A scope in which variables have these values, and get new ones."""
    pairs = zip(variables, values, strict=True)
    return keras.StatelessScope(state_mapping=list(pairs))

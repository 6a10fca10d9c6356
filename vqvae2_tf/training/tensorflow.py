"""Training steps and evaluation on TensorFlow, with `tf.distribute`."""

import contextlib
import functools
from collections.abc import Callable
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from vqvae2_tf.data.batches import Examples
from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.batches import training_batches
from vqvae2_tf.errors import UserError
from vqvae2_tf.training import numerics
from vqvae2_tf.training.averages import Averages
from vqvae2_tf.training.plan import TrainingPlan
from vqvae2_tf.training.plan import make_state
from vqvae2_tf.training.state import restore_state
from vqvae2_tf.training.state import save_state
from vqvae2_tf.training.strategy import is_of_several_hosts
from vqvae2_tf.training.strategy import local_strategy
from vqvae2_tf.training.strategy import loss_reported
from vqvae2_tf.training.workers import read_workers


class TensorFlowDevices:
    """The `Devices` of the TensorFlow backend.

    Args:
        strategy: `tf.distribute.Strategy`.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        self.on_any_host = make_vote(strategy)
        self.count = strategy.num_replicas_in_sync
        self.share = 0, 1
        if is_of_several_hosts(strategy):
            own = [is_own for _, is_own in read_workers().values()]
            self.share = own.index(True), len(own)

    @functools.cached_property
    def local(self):
        if not is_of_several_hosts(self._strategy):
            return self
        return TensorFlowDevices(local_strategy())

    def barrier(self):
        self.on_any_host(False)

    def loss_reported(self):
        return loss_reported(self._strategy)

    @property
    def accelerator(self) -> tuple[str, bool] | None:
        if tf.config.list_logical_devices("TPU"):
            return "TPU", True
        gpus = tf.config.list_physical_devices("GPU")
        if not gpus:
            return None
        details = tf.config.experimental.get_device_details(gpus[0])
        return "GPU", details.get("compute_capability", (0, 0)) >= (8, 0)

    def scope(self):
        return self._strategy.scope()

    def trainer(self, model, examples, plan):
        is_tpu = isinstance(self._strategy, tf.distribute.TPUStrategy)
        if plan.check_numerics and is_tpu:
            raise UserError(
                "--check_numerics does not work on TPUs with TensorFlow; use "
                "KERAS_BACKEND=jax, or a CPU."
            )
        return TensorFlowTrainer(model, examples, plan, self._strategy)

    def evaluation(self, model):
        return make_evaluation(model, self._strategy)

    def encoding(self, model):
        strategy = self._strategy
        # Ids are strings, which stay on the host.
        options = tf.distribute.InputOptions(experimental_fetch_to_device=False)

        @tf.function
        def encode(images):
            return strategy.run(model.encode, args=(images,))

        def whole(values):
            """The replicas' parts of a batch, one after another."""
            parts = strategy.experimental_local_results(values)
            return np.concatenate([part.numpy() for part in parts])

        def outputs(make_batches):
            for batch in strategy.distribute_datasets_from_function(
                make_batches, options
            ):
                codes = encode(batch.pop("image"))
                yield tf.nest.map_structure(whole, (codes, batch))

        return outputs

    def sampling(self, model, draw):
        # Not by XLA, which compiles for longer than a few maps take.
        compiled = tf.function(draw)
        return lambda batch: compiled(batch).numpy()


class TensorFlowTrainer:
    """The `Trainer` of the TensorFlow backend.

    Args:
        model: Built inside `strategy.scope()`; see `Trainable`.
        examples: `Examples` to train on.
        plan: `TrainingPlan`.
        strategy: `tf.distribute.Strategy`.
    """

    def __init__(
        self,
        model: keras.Model,
        examples: Examples,
        plan: TrainingPlan,
        strategy: tf.distribute.Strategy,
    ):
        self.step = 0
        self.counters = {}
        self._model = model
        self._examples = examples
        self._plan = plan
        self._strategy = strategy
        self._batches = None
        with strategy.scope():
            optimizers, averages, self._state = make_state(model, plan)
        self._optimizer = next(iter(optimizers.values()))
        self._run_steps = make_train_function(
            model, optimizers, averages, strategy, plan.accumulation_steps
        )
        self.evaluate = make_evaluation(model, strategy)
        self.on_any_host = make_vote(strategy)
        self.averaged = averages.in_weights
        self.assign_averages = averages.assign_to_weights

    @property
    def learning_rate(self) -> float:
        return float(tf.convert_to_tensor(self._optimizer.learning_rate))

    def run(self, count: int) -> tuple[float, dict[str, np.ndarray]]:
        if self._batches is None:
            plan, distribute = self._plan, self._strategy
            dataset = distribute.distribute_datasets_from_function(
                lambda context: training_batches(
                    self._examples,
                    plan.batch_size,
                    plan.seed,
                    self.step,
                    context,
                )
            )
            self._batches = iter(dataset)
        with contextlib.ExitStack() as stack:
            if self._plan.check_numerics:
                stack.enter_context(_numerics_checked())
            loss, statistics = self._run_steps(
                self._batches, tf.constant(count)
            )
        self.step += count
        return float(loss), _to_numpy(statistics)

    def load_weights(self, path: str) -> None:
        # As in `restore`.
        with self._strategy.scope():
            self._model.load_weights(path)

    def save(self, folder: str) -> None:
        save_state(folder, self._state, self.counters)

    def restore(self, folder: str) -> None:
        # Inside the scope, else replicas keep their first values.
        with self._strategy.scope():
            restore_state(folder, self._state, self.counters)
        self.step = int(self._optimizer.iterations.numpy())
        self._batches = None


@contextlib.contextmanager
def _numerics_checked():
    """Checks the operations of what is traced in a block."""
    # Paths and stacks as a whole.
    tf.debugging.enable_check_numerics(1000, 1000)
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        if "Detected Infinity or NaN" not in error.message:
            raise
        raise numerics.from_tensorflow(error.message) from error
    finally:
        # What is exported later would not run everywhere.
        tf.debugging.disable_check_numerics()


def make_evaluation(
    model: keras.Model, strategy: tf.distribute.Strategy
) -> Callable[[Examples, int], dict[str, np.ndarray]]:
    """Compiles a pass over examples, with the weights in the model.

    Args:
        model: See `Trainable`.
        strategy: `tf.distribute.Strategy`.

    Returns:
        Function of `Examples` and a batch size over all replicas to the sums of
        the model's statistics, as NumPy arrays.
    """

    @tf.function
    def step(batch):
        outputs = strategy.run(model.loss_and_statistics, args=(batch,))
        return _sum_over_replicas(strategy, outputs[1])

    def evaluate(examples, batch_size):
        batches = strategy.distribute_datasets_from_function(
            lambda context: evaluation_batches(examples, batch_size, context)
        )
        totals = {}
        for batch in batches:
            for name, value in _to_numpy(step(batch)).items():
                totals[name] = totals.get(name, 0.0) + value
        return totals

    return evaluate


def make_vote(strategy: tf.distribute.Strategy) -> Callable[[bool], bool]:
    """Compiles a vote of all hosts.

    Args:
        strategy: `tf.distribute.Strategy`.

    Returns:
        Function of whether something is so on this host to whether it is so on
        any of them. It waits for all hosts.
    """
    if not is_of_several_hosts(strategy):
        return bool

    @tf.function
    def count(votes):
        votes = strategy.run(tf.identity, args=(votes,))
        return strategy.reduce("SUM", votes, axis=None)

    return lambda is_so: bool(count(tf.constant(float(is_so))) > 0)


def make_train_function(
    model: keras.Model,
    optimizers: Mapping[str, keras.optimizers.Optimizer],
    averages: Averages,
    strategy: tf.distribute.Strategy,
    accumulation_steps: int = 1,
) -> Callable:
    """Compiles training steps.

    Args:
        model: As for `make_replica_step`.
        optimizers: As for `make_replica_step`.
        averages: As for `make_replica_step`.
        strategy: `tf.distribute.Strategy`.
        accumulation_steps: See `TrainingPlan`.

    Returns:
        Function of an iterator over distributed batches and a number of steps,
        int32 scalar tensor, to the losses' and the statistics' sums.
    """
    replica_step = make_replica_step(
        model, optimizers, averages, strategy, accumulation_steps
    )

    @tf.function
    def one_step(batches):
        outputs = strategy.run(replica_step, args=(next(batches),))
        return _sum_over_replicas(strategy, outputs)

    @tf.function
    def run_steps(batches, count):
        # One call in the graph, not one before the loop and one in it: the
        # step is large and compiled where it is called.
        outputs = one_step.get_concrete_function(batches).structured_outputs
        totals = tf.nest.map_structure(
            lambda output: tf.zeros(output.shape, output.dtype), outputs
        )
        for _ in tf.range(count):
            totals = tf.nest.map_structure(tf.add, totals, one_step(batches))
        return totals

    return run_steps


def make_replica_step(
    model: keras.Model,
    optimizers: Mapping[str, keras.optimizers.Optimizer],
    averages: Averages,
    strategy: tf.distribute.Strategy,
    accumulation_steps: int = 1,
) -> Callable:
    """The training step of one replica.

    Args:
        model: Built inside `strategy.scope()`; see `Trainable`.
        optimizers: One for each of the model's objectives, built for its
            variables.
        averages: The averages of the model's trainable variables.
        strategy: `tf.distribute.Strategy` that runs it.
        accumulation_steps: See `TrainingPlan`.

    Returns:
        Function of a replica's batch to its share of the loss and its
        statistics.
    """
    objectives = model.objectives()

    def differentiate(part):
        with tf.GradientTape(persistent=len(objectives) > 1) as tape:
            losses, statistics = model.loss_and_statistics(part, training=True)
            if not isinstance(losses, Mapping):
                losses = dict.fromkeys(objectives, losses)
            # The optimizers add the replicas' gradients up.
            count = strategy.num_replicas_in_sync * accumulation_steps
            losses = {name: loss / count for name, loss in losses.items()}
        gradients = {
            name: [
                _dense(gradient)
                for gradient in tape.gradient(
                    losses[name],
                    variables,
                    unconnected_gradients=tf.UnconnectedGradients.ZERO,
                )
            ]
            for name, variables in objectives.items()
        }
        return gradients, tf.add_n(list(losses.values())), statistics

    def replica_step(batch):
        gradients, loss, statistics = _over_parts(
            differentiate, batch, accumulation_steps
        )
        step = tf.identity(next(iter(optimizers.values())).iterations.value)
        for name, variables in objectives.items():
            optimizers[name].apply(gradients[name], variables)
        averages.update(step)
        return loss, statistics

    return replica_step


def _over_parts(function, batch, count):
    """Adds up a function's results over equal parts of a replica's batch.

    Args:
        function: Function of a part.
        batch: A nest of tensors `[B, ...]`.
        count: Number of parts, which are computed one after another; divides
            B.
    """
    if count == 1:
        return function(batch)

    def part(number):
        return tf.nest.map_structure(lambda x: x[number::count], batch)

    # Not `tf.while_loop`: in it replicas cannot sum their batch statistics.
    totals = function(part(0))
    for number in range(1, count):
        # TensorFlow's executor would compute the parts side by side.
        with tf.control_dependencies(tf.nest.flatten(totals)):
            following = part(number)
        totals = tf.nest.map_structure(tf.add, totals, function(following))
    return totals


def _dense(gradient):
    """A gradient with one value an element.

    That of an embedding has a slice for each of its uses, and Keras' Adam would
    add up the slices' squares where the square of their sum belongs.
    """
    is_sparse = isinstance(gradient, tf.IndexedSlices)
    return tf.convert_to_tensor(gradient) if is_sparse else gradient


def _sum_over_replicas(strategy, outputs):
    return tf.nest.map_structure(
        lambda x: strategy.reduce("SUM", x, axis=None), outputs
    )


def _to_numpy(statistics):
    # float64, so that a long pass adds up exactly.
    return {name: np.asarray(x, "float64") for name, x in statistics.items()}

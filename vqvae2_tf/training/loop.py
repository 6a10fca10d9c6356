"""The one training loop, for every model.

The loop knows nothing of what it trains. A model has
`loss_and_statistics(batch, training)`, which returns a scalar loss and a dict
of tensors that may be added over batches and replicas, and
`metrics_from_statistics(statistics)`, which makes metrics of their sums.
"""

import dataclasses
import os
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vqvae2_tf.data.batches import Examples
from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.batches import training_batches
from vqvae2_tf.errors import UserError
from vqvae2_tf.files.atomic import replacing
from vqvae2_tf.training.interruption import StopRequest
from vqvae2_tf.training.polyak import PolyakAverage

# Held-out examples that TensorBoard shows.
_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long and how fast a model trains.

    Args:
        steps: Optimizer steps in all.
        batch_size: Over all replicas.
        learning_rate: float or Keras schedule, for Adam.
        polyak_decay: Decay of the weights' averages.
        seed: Of the order of the examples and their augmentation.
        steps_per_call: Steps inside one call of the compiled function.
        validate_every: Steps between two validations, and checkpoints.
    """

    steps: int
    batch_size: int
    learning_rate: float | Callable
    polyak_decay: float
    seed: int
    steps_per_call: int
    validate_every: int


class TrainingDivergedError(UserError):
    """The loss is not a finite number any more."""


class TrainingStoppedError(RuntimeError):
    """A signal asked the run to stop; its state is in a checkpoint."""


def fit(
    model: keras.Model,
    train: Examples,
    validation: Examples,
    plan: Plan,
    folder: str,
    strategy: tf.distribute.Strategy,
    title: str,
) -> dict[str, float]:
    """Trains a model, or goes on with it, and leaves the averaged weights.

    Args:
        model: Built inside `strategy.scope()`; see this file's head.
        train: `Examples` to train on.
        validation: `Examples` held out.
        plan: `Plan`.
        folder: Holds `checkpoints/` (the last states), `best.keras` (the
            averaged weights of the lowest held-out `model.selection_metric`)
            and `logs/` (TensorBoard). A run that was stopped goes on from its
            last checkpoint, and ends with the weights that it would have had.
        strategy: `tf.distribute.Strategy`.
        title: What the progress bar says.

    Returns:
        dict of the held-out metrics, at the end, of the averaged weights,
        which the model then has; and `raw_<selection_metric>`, of the others.

    Raises:
        TrainingDivergedError: If the loss becomes infinite or not a number.
        TrainingStoppedError: If SIGINT or SIGTERM came; after a checkpoint.
    """
    with strategy.scope():
        optimizer = keras.optimizers.Adam(plan.learning_rate)
        optimizer.build(model.trainable_variables)
        polyak = PolyakAverage(model.trainable_variables, plan.polyak_decay)
    validate = _Validation(model, validation, plan, folder, strategy, polyak)
    checkpoint = tf.train.Checkpoint(
        model=variables_of([model]),
        optimizer=variables_of([optimizer]),
        polyak=polyak,
        lowest=validate.lowest,
        validated=validate.step,
    )
    manager = tf.train.CheckpointManager(
        checkpoint, os.path.join(folder, "checkpoints"), max_to_keep=2
    )
    if manager.latest_checkpoint:
        # Inside the scope, else replicas keep their first values.
        with strategy.scope():
            try:
                checkpoint.restore(
                    manager.latest_checkpoint
                ).assert_existing_objects_matched()
            except (tf.errors.OpError, IndexError) as error:
                raise UserError(
                    f"{manager.latest_checkpoint} is damaged; remove "
                    f"{manager.directory} to train {title} from the start."
                ) from error
    step = int(optimizer.iterations.numpy())

    batches = iter(
        strategy.distribute_datasets_from_function(
            lambda context: training_batches(
                train, plan.batch_size, plan.seed, step, context
            )
        )
    )
    run_steps = make_train_function(model, optimizer, polyak, strategy)
    held_out = None
    if step != int(validate.step) and _is_stop(step, plan):
        # A signal came just before.
        held_out = validate(step)
    with (
        StopRequest() as stop,
        tqdm(
            total=plan.steps, initial=step, desc=title, unit="step"
        ) as progress,
    ):
        while step < plan.steps:
            to_next_stop = min(
                plan.steps - step,
                plan.validate_every - step % plan.validate_every,
            )
            count = min(plan.steps_per_call, to_next_stop)
            loss, statistics = run_steps(batches, tf.constant(count, tf.int32))
            step += count
            loss = float(loss) / count
            if not np.isfinite(loss):
                raise TrainingDivergedError(
                    f"{title}: the loss is {loss} at step {step}. Give a "
                    "smaller --learning_rate (of a prior "
                    "--prior_learning_rate), and another --run_dir."
                )
            metrics = model.metrics_from_statistics(_to_numpy(statistics))
            rate = float(tf.convert_to_tensor(optimizer.learning_rate))
            scalars = {"loss": loss, "learning_rate": rate, **metrics}
            validate.write_scalars("train", scalars, step)
            progress.update(count)
            progress.set_postfix(loss=f"{loss:.4f}", refresh=False)
            if _is_stop(step, plan) and not stop.requested:
                # Before the checkpoint, which holds the lowest metric so far.
                held_out = validate(step)
            if _is_stop(step, plan) or stop.requested:
                manager.save(step)
            if stop.requested:
                raise TrainingStoppedError(
                    f"{title}: stopped after {step} of {plan.steps} steps; "
                    "start again to go on."
                )
    # Averages should do no worse; whoever doubts it finds both.
    name = f"raw_{model.selection_metric}"
    raw = validate.evaluate()[model.selection_metric]
    polyak.assign_to_model()
    return {**(held_out or validate.evaluate()), name: raw}


def _is_stop(step, plan):
    """Whether the run is validated and saved after so many steps."""
    return step == plan.steps or step % plan.validate_every == 0


class _Validation:
    """Looks at the averaged weights, and writes down what it sees."""

    def __init__(self, model, examples, plan, folder, strategy, polyak):
        self._model = model
        self._polyak = polyak
        self._folder = folder
        self._writer = tf.summary.create_file_writer(
            os.path.join(folder, "logs")
        )
        some = next(iter(evaluation_batches(examples, _SHOWN)))
        count = int(tf.reduce_sum(some["weight"]))
        self._some = tf.nest.map_structure(lambda x: x[:count], some)
        self.evaluate = Evaluation(model, examples, plan.batch_size, strategy)
        # In the checkpoint, so that a resumed run knows them: the lowest metric
        # so far, and the last step that was validated.
        self.lowest = tf.Variable(np.inf, trainable=False, dtype=tf.float64)
        self.step = tf.Variable(0, trainable=False, dtype=tf.int64)

    def __call__(self, step):
        with self._polyak.in_model():
            metrics = self.evaluate()
            if metrics[self._model.selection_metric] < float(self.lowest):
                self.lowest.assign(metrics[self._model.selection_metric])
                path = os.path.join(self._folder, "best.keras")
                with replacing(path) as temporary:
                    self._model.save(temporary)
            with self._writer.as_default(step):
                for name, images in self._model.pictures(self._some).items():
                    shown = np.clip((np.asarray(images) + 1.0) / 2.0, 0.0, 1.0)
                    tf.summary.image(
                        f"validation/{name}", shown, max_outputs=_SHOWN
                    )
        self.write_scalars("validation", metrics, step)
        self.step.assign(step)
        return metrics

    def write_scalars(self, group, scalars, step):
        with self._writer.as_default(step):
            for name, value in scalars.items():
                tf.summary.scalar(f"{group}/{name}", value)
        self._writer.flush()


class Evaluation:
    """A pass over held-out examples, compiled once.

    Args:
        model: See this file's head.
        examples: `Examples`.
        batch_size: Over all replicas.
        strategy: `tf.distribute.Strategy`.
    """

    def __init__(self, model, examples, batch_size, strategy):
        self._model = model
        self._batches = strategy.distribute_datasets_from_function(
            lambda context: evaluation_batches(examples, batch_size, context)
        )

        @tf.function
        def step(batch):
            statistics = strategy.run(
                lambda batch: model.loss_and_statistics(batch)[1],
                args=(batch,),
            )
            return _sum_over_replicas(strategy, statistics)

        self._step = step

    def __call__(self) -> dict[str, float]:
        """Metrics over the whole pass, of the weights in the model now."""
        total = None
        for batch in self._batches:
            statistics = _to_numpy(self._step(batch))
            total = (
                statistics
                if total is None
                else {k: total[k] + statistics[k] for k in total}
            )
        return self._model.metrics_from_statistics(total)


def variables_of(trackables: list) -> tf.Module:
    """A `tf.Module` that holds all variables of Keras models and optimizers.

    TensorFlow follows a Keras model's attributes but not its lists of layers,
    so that a checkpoint of the model itself silently lacks most of it.

    Args:
        trackables: Models or optimizers, built.
    """
    module = tf.Module()
    module.values = [
        variable.value for item in trackables for variable in item.variables
    ]
    return module


def make_train_function(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    polyak: PolyakAverage,
    strategy: tf.distribute.Strategy,
) -> Callable:
    """Compiles training steps.

    Args:
        model: Built inside `strategy.scope()`; see this file's head.
        optimizer: Built for the model's trainable variables.
        polyak: Their averages.
        strategy: `tf.distribute.Strategy`.

    Returns:
        Function of an iterator over distributed batches and a number of steps,
        int32 scalar tensor, to the losses' and the statistics' sums.
    """
    variables = model.trainable_variables

    def replica_step(batch):
        with tf.GradientTape() as tape:
            loss, statistics = model.loss_and_statistics(batch, training=True)
            # The optimizer adds the replicas' gradients up.
            loss = loss / strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, variables)
        taken = tf.identity(optimizer.iterations.value)
        optimizer.apply(gradients, variables)
        polyak.update(taken)
        return loss, statistics

    @tf.function
    def one_step(batches):
        loss, statistics = strategy.run(replica_step, args=(next(batches),))
        return (
            strategy.reduce("SUM", loss, axis=None),
            _sum_over_replicas(strategy, statistics),
        )

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


def _sum_over_replicas(strategy, statistics):
    return {
        name: strategy.reduce("SUM", value, axis=None)
        for name, value in statistics.items()
    }


def _to_numpy(statistics):
    # float64, so that a long pass adds up exactly.
    return {
        name: np.asarray(value, "float64") for name, value in statistics.items()
    }

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
from vqvae2_tf.training.polyak import PolyakAverage


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


class TrainingDivergedError(ValueError):
    """The loss is not a finite number any more."""


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
        folder: Holds `checkpoints/` and `logs/` (TensorBoard). A run that was
            stopped goes on from its last checkpoint.
        strategy: `tf.distribute.Strategy`.
        title: What the progress bar says.

    Returns:
        dict of the held-out metrics, at the end, of the averaged weights,
        which the model then has.

    Raises:
        TrainingDivergedError: If the loss becomes infinite or not a number.
    """
    with strategy.scope():
        optimizer = keras.optimizers.Adam(plan.learning_rate)
        optimizer.build(model.trainable_variables)
        polyak = PolyakAverage(model.trainable_variables, plan.polyak_decay)
    checkpoint = tf.train.Checkpoint(
        model=variables_of([model]),
        optimizer=variables_of([optimizer]),
        polyak=polyak,
    )
    manager = tf.train.CheckpointManager(
        checkpoint, os.path.join(folder, "checkpoints"), max_to_keep=2
    )
    if manager.latest_checkpoint:
        # Inside the scope, else replicas keep their first values.
        with strategy.scope():
            checkpoint.restore(
                manager.latest_checkpoint
            ).assert_existing_objects_matched()
    step = int(optimizer.iterations.numpy())

    batches = iter(
        strategy.distribute_datasets_from_function(
            lambda context: training_batches(
                train, plan.batch_size, plan.seed, step, context
            )
        )
    )
    run_steps = _make_train_function(model, optimizer, polyak, strategy)
    evaluate_model = Evaluation(model, validation, plan.batch_size, strategy)
    writer = tf.summary.create_file_writer(os.path.join(folder, "logs"))
    held_out = None
    with tqdm(
        total=plan.steps, initial=step, desc=title, unit="step"
    ) as progress:
        while step < plan.steps:
            next_stop = min(
                plan.steps,
                (step // plan.validate_every + 1) * plan.validate_every,
            )
            count = min(plan.steps_per_call, next_stop - step)
            loss, statistics = run_steps(batches, tf.constant(count, tf.int32))
            step += count
            loss = float(loss) / count
            if not np.isfinite(loss):
                raise TrainingDivergedError(
                    f"{title}: the loss is {loss} at step {step}; the last "
                    f"good state is in {manager.directory}. Try a smaller "
                    "learning rate."
                )
            metrics = model.metrics_from_statistics(_to_numpy(statistics))
            rate = float(tf.convert_to_tensor(optimizer.learning_rate))
            scalars = {"loss": loss, "learning_rate": rate, **metrics}
            _write_scalars(writer, "train", scalars, step)
            progress.update(count)
            progress.set_postfix(loss=f"{loss:.4f}", refresh=False)
            if step == next_stop:
                manager.save(step)
                with polyak.in_model():
                    held_out = evaluate_model()
                _write_scalars(writer, "validation", held_out, step)
        writer.close()
    polyak.assign_to_model()
    return held_out or evaluate_model()


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


def _make_train_function(model, optimizer, polyak, strategy):
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


def _write_scalars(writer, group, scalars, step):
    with writer.as_default(step):
        for name, value in scalars.items():
            tf.summary.scalar(f"{group}/{name}", value)
    writer.flush()

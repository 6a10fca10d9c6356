"""The one training loop, for every network and backend."""

import contextlib
import math
import os
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import Protocol

import keras
import numpy as np
from tqdm import tqdm

from vqvae2_tf.errors import UserError
from vqvae2_tf.files import atomic
from vqvae2_tf.trainable import Trainable
from vqvae2_tf.training.interruption import StopRequest
from vqvae2_tf.training.plan import TrainingPlan

# The averaged weights of the best validation.
BEST_FILE = "best.keras"
# Held-out examples that TensorBoard shows.
_SHOWN = 8


class Examples(Protocol):
    """Examples to train on, or to measure a network on.

    Images and codes on disk are `data.batches.Examples`, and arrays
    `data.arrays.ArrayExamples`, which needs no TensorFlow.

    Attributes:
        count: Number of examples.
    """

    count: int

    def training_arrays(
        self,
        batch_size: int,
        seed: int,
        start_step: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> Iterator[dict[str, Any]]:
        """Endless batches, of which number s is a function of (seed, s).

        Args:
            batch_size: Size of the whole batch.
            seed: int.
            start_step: Number of the first batch.
            share: `(i, n)` for the i-th of n equal parts of each batch.
        """

    def evaluation_arrays(
        self, batch_size: int, share: tuple[int, int] = (0, 1)
    ) -> Iterator[dict[str, Any]]:
        """All examples once, in full batches: `weight` is 0 for padding."""


class Trainer(Protocol):
    """What trains a network on one backend.

    Attributes:
        step: Training steps taken.
        learning_rate: Learning rate of the next step.
        counters: Numbers that are saved and restored with the state.
    """

    step: int
    learning_rate: float
    counters: dict[str, float]

    def run(self, count: int) -> tuple[float, dict[str, np.ndarray]]:
        """Trains `count` steps; sums of their losses and statistics."""

    def evaluate(
        self, examples: Examples, batch_size: int
    ) -> dict[str, np.ndarray]:
        """Sums of the statistics over all examples."""

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Puts the averages into the model for the length of a block."""

    def assign_averages(self) -> None:
        """Overwrites the model's weights by their averages."""

    def load_weights(self, path: str) -> None:
        """Overwrites the model's weights by those of a saved model."""

    def save(self, folder: str) -> None:
        """Writes the state, `counters` included, into a folder."""

    def restore(self, folder: str) -> None:
        """Restores the folder's state, if it holds one.

        Raises:
            UserError: If it cannot be read, or is of another network.
        """

    def on_any_host(self, is_so: bool) -> bool:
        """Whether something is so on any host, the same answer on all."""


class Summaries(Protocol):
    """Where training curves and images go; see `summaries.TensorBoard`."""

    def scalars(self, group: str, values: dict[str, float], step: int): ...

    def images(self, group: str, values: dict, step: int): ...


class TrainingDivergedError(UserError):
    """The loss or the held-out metric is no longer a finite number.

    Args:
        what: What it is of which network.
        value: Its value.
        step: Training steps taken.
    """

    def __init__(self, what: str, value: float, step: int):
        super().__init__(f"the {what} is {value} at step {step}")


class TrainingStoppedError(KeyboardInterrupt):
    """A signal stopped the training, after its state was saved."""


def fit(
    model: Trainable,
    trainer: Trainer,
    validation: Examples,
    plan: TrainingPlan,
    folder: str,
    title: str,
    summaries: Summaries,
    further_images: Callable[[], Mapping[str, Any]] = dict,
    further_scalars: Callable[[], Mapping[str, float]] = dict,
) -> dict[str, float]:
    """Trains a network, or resumes its training.

    Args:
        model: The network; see `Trainable`.
        trainer: Its trainer, with the examples to train on.
        validation: Held-out `Examples`.
        plan: `TrainingPlan`, as the trainer has it.
        folder: Folder of the last state and of `best.keras` (the averaged
            weights with the lowest held-out `model.selection_metric`). Training
            resumes from the state there, and ends with the same weights as
            without the interruption.
        title: Name of the network, for messages.
        summaries: Where training curves and images go.
        further_images: Gives images to show beside those of the model, as
            `Trainable.images_to_show` does. Called at every validation, with
            the averages in the model, on all hosts.
        further_scalars: Gives numbers to show beside the model's metrics;
            called when `further_images` is.

    Returns:
        dict of the held-out metrics of the averaged weights that are left in
        the model (`plan.weights`), `last_<selection_metric>`, of the last
        averaged weights, and `raw_<selection_metric>`, of the last weights
        themselves.

    Raises:
        TrainingDivergedError: If the loss or the held-out metric becomes
            infinite or NaN; that state is not saved.
        TrainingStoppedError: After SIGINT, SIGTERM or SIGHUP.
        UserError: If the folder's state cannot be restored.
    """
    counters = trainer.counters
    counters.update(lowest=math.inf, validated=0)
    trainer.restore(folder)
    shown = next(validation.evaluation_arrays(_SHOWN))
    count = int(np.sum(shown["weight"]))
    shown = keras.tree.map_structure(lambda x: x[:count], shown)
    metric = model.selection_metric

    def evaluate():
        return model.metrics_from_statistics(
            trainer.evaluate(validation, plan.batch_size)
        )

    def validate():
        with trainer.averaged():
            metrics = evaluate()
            if metrics[metric] < counters["lowest"]:
                counters["lowest"] = metrics[metric]
                if atomic.is_chief:
                    path = os.path.join(folder, BEST_FILE)
                    with atomic.replacing(path) as temporary:
                        model.save(temporary)
            summaries.scalars("validation", metrics, trainer.step)
        # The last step's loss is that of the weights before it.
        if not math.isfinite(metrics[metric]):
            raise TrainingDivergedError(
                f"{metric} of {title}", metrics[metric], trainer.step
            )
        counters["validated"] = trainer.step
        return metrics

    def show():
        with trainer.averaged():
            images = {**model.images_to_show(shown), **further_images()}
            summaries.images("validation", images, trainer.step)
            summaries.scalars("validation", further_scalars(), trainer.step)

    def is_stop():
        """Whether this is a step to validate and save after."""
        step = trainer.step
        return step == plan.steps or step % plan.validate_every == 0

    held_out = None
    if trainer.step != counters["validated"] and is_stop():
        # A signal came just before this validation.
        held_out = validate()
        show()
    bar = tqdm(
        initial=trainer.step,
        total=plan.steps,
        desc=title,
        unit="step",
        disable=not atomic.is_chief,
    )
    with StopRequest() as stop, bar:
        while trainer.step < plan.steps:
            left = plan.steps - trainer.step
            to_stop = plan.validate_every - trainer.step % plan.validate_every
            count = min(plan.steps_per_call, left, to_stop)
            loss, statistics = trainer.run(count)
            loss /= count
            if not math.isfinite(loss):
                raise TrainingDivergedError(
                    f"loss of {title}", loss, trainer.step
                )
            scalars = {"loss": loss, "learning_rate": trainer.learning_rate}
            scalars |= model.metrics_from_statistics(statistics)
            summaries.scalars("train", scalars, trainer.step)
            bar.update(count)
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            # The hosts stop together, and after the same step.
            stopped = trainer.on_any_host(stop.requested)
            if is_stop() and not stopped:
                # Before the state is saved, which holds the lowest metric.
                held_out = validate()
            if is_stop() or stopped:
                trainer.save(folder)
            if stopped:
                raise TrainingStoppedError(
                    f"{title}: stopped after {trainer.step} of {plan.steps} "
                    "steps; run the same command again to resume."
                )
            # Last, as images of large maps take long.
            if is_stop() and not trainer.on_any_host(stop.requested):
                show()
        if trainer.on_any_host(stop.requested):
            # Since the last step, of which the state is saved.
            raise TrainingStoppedError(
                f"{title}: stopped after all of {plan.steps} steps; run the "
                "same command again to go on."
            )
    # Report both: the averaged weights should be at least as good.
    raw = evaluate()[metric]
    trainer.assign_averages()
    held_out = held_out or evaluate()
    others = {f"last_{metric}": held_out[metric], f"raw_{metric}": raw}
    if plan.weights == "best" and counters["lowest"] < held_out[metric]:
        trainer.load_weights(os.path.join(folder, BEST_FILE))
        held_out = evaluate()
    return {**held_out, **others}

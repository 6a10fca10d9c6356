"""The training loop's rules, with a trainer that only counts."""

import contextlib
import json
import math
import os
import pathlib
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import one_shard
from vqvae2_tf.data.batches import Examples
from vqvae2_tf.training.loop import TrainingDivergedError
from vqvae2_tf.training.loop import TrainingStoppedError
from vqvae2_tf.training.loop import fit
from vqvae2_tf.training.plan import TrainingPlan


class FakeModel:
    """A model of one number, whose error is how far it is from 2."""

    selection_metric = "error"
    weight = 0.0

    def metrics_from_statistics(self, statistics):
        return {"error": float(statistics["error"])}

    def images_to_show(self, batch):
        return {"images": batch["image"]}

    def save(self, path):
        pathlib.Path(path).write_text(str(self.weight))


class FakeTrainer:
    """The weight is the step, its average half of that.

    Args:
        model: `FakeModel`.
        at_step: Function of the step that gives its loss.
    """

    learning_rate = 0.5

    def __init__(self, model, at_step=lambda step: 1.0):
        self.model = model
        self.at_step = at_step
        self.step = 0
        self.counters = {}
        self.events = []

    def _statistics(self):
        return {"error": np.abs(self.model.weight - 2.0)}

    def run(self, count):
        self.step += count
        self.model.weight = float(self.step)
        self.events.append(f"run to {self.step}")
        loss = sum(map(self.at_step, range(self.step - count, self.step)))
        return loss, self._statistics()

    def evaluate(self, examples, batch_size):
        assert (examples, batch_size) == (VALIDATION, 4)
        self.events.append(f"evaluate {self.model.weight}")
        return self._statistics()

    @contextlib.contextmanager
    def averaged(self):
        self.assign_averages()
        yield
        self.model.weight = float(self.step)

    def assign_averages(self):
        self.model.weight = self.step / 2

    def load_weights(self, path):
        self.model.weight = float(pathlib.Path(path).read_text())

    def save(self, folder):
        self.events.append("save")
        os.makedirs(folder, exist_ok=True)
        state = {"step": self.step, "counters": self.counters}
        pathlib.Path(folder, "state").write_text(json.dumps(state))

    def restore(self, folder):
        path = pathlib.Path(folder, "state")
        if path.exists():
            state = json.loads(path.read_text())
            assert self.counters.keys() == state["counters"].keys()
            self.counters.update(state["counters"])
            self.step = state["step"]
            self.model.weight = float(self.step)

    def on_any_host(self, is_so):
        return is_so


class FakeSummaries:
    def __init__(self):
        self.written = {}

    def scalars(self, group, values, step):
        self.written.setdefault((group, step), {}).update(values)

    def images(self, group, values, step):
        self.written[f"{group} images", step] = values


VALIDATION = Examples(
    one_shard(lambda: tf.data.Dataset.range(3)),
    [3],
    lambda i, seed=None: {"image": tf.fill((1, 2, 1), i)},
)


def train(
    folder, steps, trainer=None, summaries=None, further=(dict, dict), **changes
):
    """What the trainer was asked to do, and the metrics."""
    trainer = trainer or FakeTrainer(FakeModel())
    plan = TrainingPlan(
        **{
            "steps": steps,
            "batch_size": 4,
            "make_optimizer": keras.optimizers.Adam,
            "polyak_decay": 0.9,
            "seed": 0,
            "steps_per_call": 2,
            "validate_every": 3,
            **changes,
        }
    )
    metrics = fit(
        trainer.model,
        trainer,
        VALIDATION,
        plan,
        str(folder),
        "test",
        summaries or FakeSummaries(),
        *further,
    )
    return trainer.events, metrics


WHOLE = [
    "run to 2",
    "run to 3",
    "evaluate 1.5",
    "save",
    "run to 5",
    "run to 6",
    "evaluate 3.0",
    "save",
    "run to 7",
    "evaluate 3.5",
    "save",
    "evaluate 7.0",
    "evaluate 1.5",
]


def test_it_validates_the_averages_and_saves_at_every_stop(tmp_path):
    trainer = FakeTrainer(FakeModel())
    events, metrics = train(tmp_path, 7, trainer)
    assert events == WHOLE
    assert metrics == {"error": 0.5, "last_error": 1.5, "raw_error": 5.0}
    assert trainer.model.weight == 1.5
    assert trainer.counters == {"lowest": 0.5, "validated": 7}


def test_the_best_averages_are_kept_when_later_ones_are_worse(tmp_path):
    for steps, best in ((2, "1.0"), (3, "1.5"), (6, "1.5"), (9, "1.5")):
        # Each but the first resumes, with the lowest error so far.
        train(tmp_path, steps)
        assert (tmp_path / "best.keras").read_text() == best


def test_the_last_averages_can_be_asked_for(tmp_path):
    trainer = FakeTrainer(FakeModel())
    events, metrics = train(tmp_path, 7, trainer, weights="last")
    assert events == WHOLE[:-1]
    assert metrics == {"error": 1.5, "last_error": 1.5, "raw_error": 5.0}
    assert trainer.model.weight == 3.5


def test_a_finished_training_is_only_evaluated(tmp_path):
    _, metrics = train(tmp_path, 7)
    events, again = train(tmp_path, 7)
    assert events == ["evaluate 7.0", "evaluate 3.5", "evaluate 1.5"]
    assert again == metrics


def stopping(at_step):
    """A trainer that gets SIGTERM while it runs this step."""

    def loss(step):
        if step == at_step:
            os.kill(os.getpid(), signal.SIGTERM)
        return 1.0

    return FakeTrainer(FakeModel(), loss)


def test_stopped_between_validations_it_saves_and_resumes(tmp_path):
    trainer, handler = stopping(3), signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingStoppedError, match="test: .*after 5 of 7 st"):
        train(tmp_path, 7, trainer)
    assert signal.getsignal(signal.SIGTERM) == handler
    assert trainer.events == WHOLE[:5] + ["save"]
    events, metrics = train(tmp_path, 7)
    assert events == WHOLE[5:]
    assert metrics == train(tmp_path / "whole", 7)[1]


@pytest.mark.parametrize("step", [3, 7])
def test_stopped_before_a_validation_it_catches_up(step, tmp_path):
    trainer = stopping(step - 1)
    with pytest.raises(TrainingStoppedError, match=f"after {step} of 7"):
        train(tmp_path, 7, trainer)
    done = WHOLE.index(f"run to {step}") + 1
    assert trainer.events == [*WHOLE[:done], "save"]
    assert (tmp_path / "best.keras").exists() == (step > 3)
    events, metrics = train(tmp_path, 7)
    # All but the state's saving, which is done.
    assert events == [WHOLE[done], *WHOLE[done + 2 :]]
    assert metrics == train(tmp_path / "whole", 7)[1]
    assert (tmp_path / "best.keras").exists()


def test_stopped_while_the_last_samples_are_shown_it_does_not_go_on(tmp_path):
    trainer, handler = (
        FakeTrainer(FakeModel()),
        signal.getsignal(signal.SIGTERM),
    )

    def further():
        if trainer.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return {}

    with pytest.raises(TrainingStoppedError, match="test: .*after all of 7 st"):
        train(tmp_path, 7, trainer, further=(further, dict))
    assert signal.getsignal(signal.SIGTERM) == handler
    # The state is saved, and nothing is done again.
    assert trainer.events == WHOLE[:-2]
    events, metrics = train(tmp_path, 7)
    assert events == ["evaluate 7.0", "evaluate 3.5", "evaluate 1.5"]
    assert metrics == train(tmp_path / "whole", 7)[1]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_diverged_loss_is_reported_with_its_step(loss, tmp_path):
    trainer = FakeTrainer(FakeModel(), lambda step: loss if step == 3 else 1.0)
    with pytest.raises(
        TrainingDivergedError, match=f"^the loss of test is {loss} at step 5$"
    ):
        train(tmp_path, 7, trainer)
    assert trainer.events == WHOLE[:5]


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    class Model(FakeModel):
        def metrics_from_statistics(self, statistics):
            # The averages after step 6, whose own loss is finite.
            is_broken = self.weight == 3.0
            return {"error": math.nan if is_broken else 1.0}

    trainer = FakeTrainer(Model())
    with pytest.raises(
        TrainingDivergedError, match="^the error of test is nan at step 6$"
    ):
        train(tmp_path, 7, trainer)
    assert json.loads((tmp_path / "state").read_text())["step"] == 3
    assert (tmp_path / "best.keras").read_text() == "1.5"


def test_summaries_get_losses_metrics_and_images(tmp_path):
    summaries = FakeSummaries()
    trainer = FakeTrainer(FakeModel(), float)

    def further():
        return {"weight": trainer.model.weight}

    train(tmp_path, 5, trainer, summaries, (further, further))
    for step in (3, 5):
        images = summaries.written.pop(("validation images", step))
        # No more than there are.
        np.testing.assert_array_equal(
            images.pop("images")[:, 0, 0, 0], [0, 1, 2]
        )
        # The average.
        assert images == {"weight": step / 2}
    assert summaries.written == {
        ("train", 2): {"loss": 0.5, "learning_rate": 0.5, "error": 0.0},
        ("train", 3): {"loss": 2.0, "learning_rate": 0.5, "error": 1.0},
        ("validation", 3): {"error": 0.5, "weight": 1.5},
        ("train", 5): {"loss": 3.5, "learning_rate": 0.5, "error": 3.0},
        ("validation", 5): {"error": 0.5, "weight": 2.5},
    }

"""How long and how fast a network trains."""

import dataclasses
from collections.abc import Callable

import keras


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast a network trains.

    Args:
        steps: Optimizer steps in all.
        batch_size: Batch size over all replicas.
        make_optimizer: Makes the optimizer of one objective.
        polyak_decay: Decay of the weights' averages.
        seed: Seed of the examples' order and their augmentation.
        steps_per_call: Steps inside one call of the compiled function.
        validate_every: Steps between two validations, and saved states.
        weights: `best` or `last`: the averaged weights that are kept in the
            end.
    """

    steps: int
    batch_size: int
    make_optimizer: Callable[[], keras.optimizers.Optimizer]
    polyak_decay: float
    seed: int
    steps_per_call: int
    validate_every: int
    weights: str = "best"

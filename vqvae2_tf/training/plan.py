"""How long and how fast a network trains."""

import dataclasses
from collections.abc import Callable

import keras

from vqvae2_tf.training.averages import Averages


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
        accumulation_steps: Equal parts of each replica's batch that are
            computed one after another; their gradients are added up.
        weights: `best` or `last`: the averaged weights that are kept in the
            end.
        shard_state: Whether each device keeps a part of what only training
            needs.
        check_numerics: Whether the first operation whose result is not finite
            is looked for, which takes time.
    """

    steps: int
    batch_size: int
    make_optimizer: Callable[[], keras.optimizers.Optimizer]
    polyak_decay: float
    seed: int
    steps_per_call: int
    validate_every: int
    accumulation_steps: int = 1
    weights: str = "best"
    shard_state: bool = False
    check_numerics: bool = False


def make_state(
    model: keras.Model, plan: TrainingPlan
) -> tuple[
    dict[str, keras.optimizers.Optimizer],
    Averages,
    dict[str, list[keras.Variable]],
]:
    """What training a network changes.

    Args:
        model: Built; see `Trainable`.
        plan: `TrainingPlan`.

    Returns:
        Tuple of an optimizer for each of the model's objectives, the averages
        of its trainable variables, and all variables, as `save_state` takes
        them.
    """
    optimizers = {}
    for name, variables in model.objectives().items():
        optimizers[name] = plan.make_optimizer()
        optimizers[name].build(variables)
    averages = Averages(model.trainable_variables, plan.polyak_decay)
    variables = {
        "model": model.variables,
        "averages": averages.variables,
        **{f"optimizer/{k}": v.variables for k, v in optimizers.items()},
    }
    return optimizers, averages, variables

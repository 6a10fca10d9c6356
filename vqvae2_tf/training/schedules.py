"""Learning rates."""

import keras
from keras import ops

WARM_UP_STEPS = 16_000


class PriorSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """The priors' learning rate (VQ-VAE-2, supplement A.2).

    The rate of step s, counted from 1, is `scale * width**-0.5 *
    min(s**-0.35, s * 16000**-1.5)`. The branches cross at step 46,908.

    Args:
        scale: The constant c; 0.18 for ImageNet, 0.324 for FFHQ's top and
            middle priors.
        width: Number of the prior's hidden units.
    """

    def __init__(self, scale, width):
        super().__init__()
        self.scale = scale
        self.width = width

    def __call__(self, step):
        step = ops.cast(step, "float32") + 1.0
        warm_up = step * WARM_UP_STEPS**-1.5
        return self.scale * self.width**-0.5 * ops.minimum(step**-0.35, warm_up)


def cosine_schedule(
    learning_rate: float, steps: int, warm_up: int = 0
) -> keras.optimizers.schedules.CosineDecay:
    """Linear warm-up, then half a cosine down to 0.

    Args:
        learning_rate: The peak.
        steps: Length of the run.
        warm_up: Steps of the warm-up; 0 for 2 % of all.

    Returns:
        `keras.optimizers.schedules.CosineDecay`.
    """
    warm_up = warm_up or max(steps // 50, 1)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(steps - warm_up, 1),
        warmup_target=learning_rate,
        warmup_steps=warm_up,
    )

"""Classifier-free guidance (Ho & Salimans, 2022), and its schedules."""

import math
import numbers

from keras import ops

from vqvae2_tf.flags import Flag

# The power in TiTok's code (Yu et al., 2024); others have 1.2 to 4.
_POWER = 3.0

# The sampling options of every prior that can be guided.
GUIDANCE_FLAGS = (
    Flag(
        "guidance",
        1.0,
        "Factor of what the class adds to the logits; 1 for no guidance.",
        0.0,
        100.0,
    ),
    Flag(
        "guidance_schedule",
        "constant",
        "How the guidance grows from 1, at the first position or step, to its "
        "full value at the last.",
        choices=("constant", "linear", "power_cosine"),
    ),
)


def scale_at(guidance, guidance_schedule, progress):
    """The scale of guidance between the first code and the last.

    It is 1 + ramp (guidance - 1). With t from 0 to 1, the ramp is 1 if
    constant, t if linear (VAR: Tian et al., 2024), and (1 - cos(pi t^3)) / 2
    for the power cosine (MDT: Gao et al., 2023), which leaves the first half
    nearly unguided.

    Args:
        guidance: Number or scalar tensor, the scale at t = 1.
        guidance_schedule: int or int32 scalar tensor, a choice of
            `GUIDANCE_FLAGS` by its number.
        progress: t, number or float32 tensor, in [0, 1].

    Returns:
        float32 tensor of the shape of `progress`.
    """
    t = ops.convert_to_tensor(progress, "float32")
    power_cosine = (1.0 - ops.cos(math.pi * t**_POWER)) / 2.0
    ramps = ops.stack([ops.ones_like(t), t, power_cosine])
    ramp = ops.take(ramps, guidance_schedule, axis=0)
    # So a ramp of 1 leaves no rounding.
    return ramp * guidance + (1.0 - ramp)


def with_or_without(guidance, plain, guided):
    """Calls `guided`, or `plain` where the scale is 1, which costs half.

    Args:
        guidance: Number or scalar tensor.
        plain: Function without arguments that draws without guidance.
        guided: The same with guidance.
    """
    if isinstance(guidance, numbers.Real):
        return plain() if guidance == 1 else guided()
    return ops.cond(guidance == 1, plain, guided)


class Guided:
    """A `priors.Prior` whose logits are moved towards the class.

    With logits c of the class and u of none they are u + scale (c - u), where
    the scale depends on the position (see `scale_at`). It has the prior's own
    computation, on twice the rows, so that every sampler of raster priors draws
    from it.

    Args:
        prior: `priors.Prior` of logits that was trained with label dropout.
        guidance: number or scalar tensor; 1 is the prior itself, 0 that without
            a class.
        guidance_schedule: int or int32 scalar tensor, the number of a schedule.
    """

    def __init__(self, prior, guidance, guidance_schedule=0):
        self.level, self.head = prior.level, prior.head
        self._prior = prior
        self._options = guidance, guidance_schedule

    def __call__(self, codes, labels=None, coarser=()):
        conditions = self._with_and_without(labels, coarser)
        logits = self._prior(_twice(codes), *conditions)
        positions = ops.arange(self.level.num_positions)
        ones = [1] * (len(logits.shape) - 3)
        positions = ops.reshape(positions, (*self.level.size, *ones))
        return self._guided(logits, self._progress(positions))

    def logits(self, codes, labels, coarser, progress):
        """Those of all positions at one progress of `scale_at`."""
        conditions = self._with_and_without(labels, coarser)
        return self._guided(self._prior(_twice(codes), *conditions), progress)

    def initial_state(self, batch_size, labels=None, coarser=()):
        conditions = self._with_and_without(labels, coarser)
        return self._prior.initial_state(2 * batch_size, *conditions)

    def next_row(self, state, row):
        return self._prior.next_row(state, row)

    def step(self, state, row, column):
        parameters, state = self._prior.step(state, row, column)
        position = row * self.level.width + column
        return self._guided(parameters, self._progress(position)), state

    def write(self, state, codes, column):
        return self._prior.write(state, _twice(codes), column)

    def _with_and_without(self, labels, coarser):
        self._prior.check_conditions(labels, coarser)
        labels = ops.concatenate([labels, ops.full_like(labels, -1)])
        return labels, [_twice(codes) for codes in coarser]

    def _progress(self, positions):
        last = max(self.level.num_positions - 1, 1)
        return ops.cast(positions, "float32") / last

    def _guided(self, logits, progress):
        of_class, of_none = ops.split(logits, 2)
        scale = scale_at(*self._options, progress)
        return of_none + scale * (of_class - of_none)


def _twice(x):
    return ops.concatenate([x, x])

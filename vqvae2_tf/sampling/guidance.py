"""Classifier-free guidance (Ho & Salimans, 2022) of raster priors."""

from keras import ops


class Guided:
    """A `priors.RasterPrior` whose logits are moved towards the class.

    With logits c of the class and u of none they are u + scale (c - u). It has
    the prior's own computation, on twice the rows, so that every sampler of
    raster priors draws from it.

    Args:
        prior: `priors.RasterPrior` that was trained with label dropout.
        scale: number or scalar tensor; 1 is the prior itself, 0 that without
            a class.
    """

    def __init__(self, prior, scale):
        self.level, self.head = prior.level, prior.head
        self._prior = prior
        self._scale = scale

    def __call__(self, codes, labels=None, coarser=()):
        conditions = self._with_and_without(labels, coarser)
        return self._guided(self._prior(_twice(codes), *conditions))

    def initial_state(self, batch_size, labels=None, coarser=()):
        conditions = self._with_and_without(labels, coarser)
        return self._prior.initial_state(2 * batch_size, *conditions)

    def next_row(self, state, row):
        return self._prior.next_row(state, row)

    def step(self, state, row, column):
        parameters, state = self._prior.step(state, row, column)
        return self._guided(parameters), state

    def write(self, state, codes, column):
        return self._prior.write(state, _twice(codes), column)

    def _with_and_without(self, labels, coarser):
        self._prior.check_conditions(labels, coarser)
        labels = ops.concatenate([labels, ops.full_like(labels, -1)])
        return labels, [_twice(codes) for codes in coarser]

    def _guided(self, logits):
        of_class, of_none = ops.split(logits, 2)
        return of_none + self._scale * (of_class - of_none)


def _twice(x):
    return ops.concatenate([x, x])

"""What every prior has: its level, its conditions and its samples."""

import math

import keras
from keras import ops

from vqvae2_tf.layers.recomputation import DrawnSeed
from vqvae2_tf.level import Level
from vqvae2_tf.priors.heads import CategoricalHead
from vqvae2_tf.sampling import incremental
from vqvae2_tf.sampling.guidance import GUIDANCE_FLAGS
from vqvae2_tf.sampling.guidance import Guided
from vqvae2_tf.sampling.guidance import with_or_without
from vqvae2_tf.trainable import Trainable


class Prior(Trainable):
    """Base of stage 2: a distribution over one level's code maps.

    A subclass has `draw`, and `nll` if it derives from `LikelihoodPrior`. Its
    constructor takes the arguments below, one argument a flag of `FLAGS`, and
    Keras' own such as `dtype`.

    Args:
        level: `Level` of the code maps.
        coarser: `Level`s that are given, coarsest first.
        num_classes: Number of labels; 0 for an unconditional prior.
        label_dropout: Probability that, in training, an image's label is -1,
            as for an image without one: what guidance needs.

    Attributes:
        schedule_width: Width that scales the paper's learning rate.
        SAMPLING_FLAGS: `flags.Flag`s of the options of `draw`, numbers or
            choices. The commands, the exports and `sampling.sample` pass them
            on by name. A prior that can be guided has `GUIDANCE_FLAGS` among
            them.
        sampling_flags: Those of them that this prior has.
    """

    schedule_width = 1
    SAMPLING_FLAGS = ()

    def __init__(
        self, level, coarser=(), num_classes=0, label_dropout=0.0, **kwargs
    ):
        super().__init__(**kwargs)
        self.level = Level.of(level)
        self.coarser = [Level.of(other) for other in coarser]
        self.num_classes = num_classes
        self.label_dropout = label_dropout
        if label_dropout:
            self._label_draws = keras.random.SeedGenerator()

    @property
    def sampling_flags(self):
        is_guided = self.num_classes and self.label_dropout
        others = () if is_guided else GUIDANCE_FLAGS
        return [flag for flag in self.SAMPLING_FLAGS if flag not in others]

    def check_options(self, guidance=1.0, **options):
        """Raises `ValueError` if options of `draw` do not fit this prior.

        Args:
            guidance: Of `GUIDANCE_FLAGS`, if the prior has it.
            **options: Values of the other `SAMPLING_FLAGS` by name, each in
                its range.
        """
        if guidance != 1 and not self.label_dropout:
            raise ValueError(
                "`guidance` other than 1 needs a prior trained with "
                f"`label_dropout` above 0. Received: {guidance}"
            )

    def build(self, codes_shape=None):
        def symbol(level):
            return keras.KerasTensor((None, *level.shape), level.dtype)

        # A symbolic call creates the weights of all layers.
        labels = keras.KerasTensor((None,), "int32")
        self.compute_output_spec(
            symbol(self.level),
            labels if self.num_classes else None,
            [symbol(level) for level in self.coarser],
        )

    def draw(
        self,
        noise,
        labels=None,
        coarser=(),
        known=None,
        known_mask=None,
        **options,
    ):
        """Draws code maps.

        Args:
            noise: `sampling.noise.Noise`; fixes the result.
            labels: `[B]` int32 in [0, num_classes), if there are classes.
            coarser: Codes of the coarser levels, coarsest first.
            known: `[B, *level.shape]`, codes of which some are kept, or None.
            known_mask: `[B, H, W]` bool, where they are kept.
            **options: A value for each of `SAMPLING_FLAGS`: a number or a
                scalar tensor; of choices the number of one, from 0 on.

        Returns:
            `[B, *level.shape]`.
        """
        raise NotImplementedError

    def check_conditions(self, labels, coarser):
        """Raises `ValueError` if labels or codes are missing or unexpected."""
        if (labels is not None) != bool(self.num_classes):
            raise ValueError(
                "`labels` are expected exactly if the prior has classes. "
                f"Received: labels={labels}, num_classes={self.num_classes}"
            )
        shapes = [tuple(codes.shape[1:]) for codes in coarser]
        expected = [level.shape for level in self.coarser]
        if shapes != expected:
            raise ValueError(
                "`coarser` must hold one code map for each of the sizes "
                f"{expected}. Received: {shapes}"
            )

    def inputs(self, batch, training=False):
        """This prior's part of a batch, with labels dropped in training.

        Args:
            batch: dict of `codes` (list of all levels' maps, coarsest first;
                finer levels than this prior's are ignored), `label` `[B]`
                int32, and optionally `weight`.
            training: Whether labels are dropped.

        Returns:
            Tuple of the codes `[B, *level.shape]`, the labels `[B]` or None,
            and the list of the coarser codes.
        """
        *coarser, codes = batch["codes"][: len(self.coarser) + 1]
        labels = batch["label"] if self.num_classes else None
        if training and self.label_dropout and self.num_classes:
            drawn = keras.random.uniform(
                ops.shape(labels), seed=DrawnSeed(self._label_draws)
            )
            labels = ops.where(drawn < self.label_dropout, -1, labels)
        return codes, labels, coarser


class LikelihoodPrior(Prior):
    """Base of priors that know the likelihood of a map: they have `nll`."""

    selection_metric = "nll"

    def nll(self, codes, labels=None, coarser=(), training=False):
        """Negative log likelihood.

        Args:
            codes: `[B, *level.shape]`.
            labels: `[B]` int32 in [0, num_classes), if there are classes; -1
                for a held-out image without one.
            coarser: Codes of the coarser levels, coarsest first.
            training: Whether dropout and batch statistics are active.

        Returns:
            `[B]` float32, nats a code.
        """
        raise NotImplementedError

    def call(self, codes, labels=None, coarser=(), training=False):
        return self.nll(codes, labels, coarser, training)

    def loss_and_statistics(self, batch, training=False):
        """See `Trainable`.

        The batch is that of `inputs`. The loss is in nats a code.
        """
        codes, labels, coarser = self.inputs(batch, training)
        nll = self.nll(codes, labels, coarser, training)
        weights = batch.get("weight", ops.ones_like(nll))
        statistics = {"images": ops.sum(weights), "nll": ops.sum(weights * nll)}
        return ops.mean(nll), statistics

    def metrics_from_statistics(self, statistics):
        """See `Trainable`.

        Returns:
            dict of floats: `nll` in nats a code, `bits_per_image` of this
            level.
        """
        nll = float(statistics["nll"] / statistics["images"])
        bits = nll * self.level.num_positions / math.log(2)
        return {"nll": nll, "bits_per_image": bits}


class RasterPrior(LikelihoodPrior):
    """Base of priors that draw one position after another, in raster order.

    A subclass has a `head` (such as `heads.CategoricalHead`, whose sampling
    options come with `GUIDANCE_FLAGS`), is called as
    `prior(codes, labels, coarser, training)` for the parameters of each
    position's distribution, `[B, H, W, ...]`, and has the same computation
    position by position: `initial_state`, `next_row`, `step` and `write`.
    """

    SAMPLING_FLAGS = (*CategoricalHead.SAMPLING_FLAGS, *GUIDANCE_FLAGS)

    def nll(self, codes, labels=None, coarser=(), training=False):
        parameters = self(codes, labels, coarser, training=training)
        return ops.mean(self.head.nll(parameters, codes), axis=(1, 2))

    def draw(self, noise, *args, guidance=1.0, guidance_schedule=0, **kwargs):
        def plain():
            return incremental.draw(self, noise, *args, **kwargs)

        def guided():
            prior = Guided(self, guidance, guidance_schedule)
            return incremental.draw(prior, noise, *args, **kwargs)

        return with_or_without(guidance, plain, guided)

    def initial_state(self, batch_size, labels=None, coarser=()):
        """State above the first row: a nest of tensors.

        Args:
            batch_size: B.
            labels: As in the call.
            coarser: As in the call.
        """
        raise NotImplementedError

    def next_row(self, state, row):
        """State at the start of a row, the first one included.

        Args:
            state: State at the end of the row above.
            row: int32 scalar, number of the row that starts.
        """
        raise NotImplementedError

    def step(self, state, row, column):
        """Parameters at a position, from the codes written so far.

        Args:
            state: State with the codes before this one.
            row: int32 scalar.
            column: int32 scalar.

        Returns:
            Tuple of the parameters `[B, ...]` and the state.
        """
        raise NotImplementedError

    def write(self, state, codes, column):
        """State with the codes `[B]` at a column of this row."""
        raise NotImplementedError

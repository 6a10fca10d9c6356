"""Stage 2: the MaskGIT-style bidirectional prior of one level."""

import math

import keras
from keras import ops

from vqvae2_tf.flags import CONDUCT
from vqvae2_tf.flags import Flag
from vqvae2_tf.layers import ClassEmbedding
from vqvae2_tf.layers import LocalAttention
from vqvae2_tf.layers import TransformerBlock
from vqvae2_tf.layers.recomputation import DrawnSeed
from vqvae2_tf.priors.base import Prior
from vqvae2_tf.priors.heads import CategoricalHead
from vqvae2_tf.sampling import parallel
from vqvae2_tf.sampling.guidance import GUIDANCE_FLAGS
from vqvae2_tf.sampling.guidance import Guided
from vqvae2_tf.sampling.guidance import with_or_without
from vqvae2_tf.sampling.noise import Noise

FLAGS = (
    Flag("hidden_units", 256, "Width of the features and of attention.", 1),
    Flag("residual_units", 688, "Inner width of the gated layers.", 1),
    Flag("layers", 8, "Number of blocks.", 1),
    Flag("heads", 8, "Heads of the attention.", 1),
    Flag("dropout", 0.1, "Dropout in the blocks.", 0.0, 0.99),
    Flag(
        "local_attention",
        False,
        "Attend to 5x5 codes, and to 3x3 of the level before, not to all.",
    ),
    Flag(
        "label_dropout",
        0.0,
        "Share of labels dropped in training, which guidance needs.",
        0,
        0.99,
    ),
    Flag("rematerialize", False, "Save memory by recomputation.", role=CONDUCT),
)
# Of Google's configuration for ImageNet.
_SMALLEST_SHARE = 0.5
_LABEL_SMOOTHING = 0.1


class MaskGIT(Prior):
    """Bidirectional prior that fills in masked codes (Chang et al., 2022).

    A transformer reads a map, some codes of which are masked, the codes of all
    coarser levels and the class, each as a token with a learned position, and
    predicts the masked codes independently of each other. Samples come from
    parallel decoding (`sampling.parallel`), in a few steps and not one a code.

    It is trained to predict masked codes alone, with label smoothing of 0.1.
    Their share of a map is cos(pi u / 2) with u uniform such that the share is
    at least one half. (Google's configuration has this schedule, smoothing and
    `min_masking_rate`; its training code, and so what it does with shares below
    this rate, is not public.)

    It has no likelihood. The metric `bound` is an upper bound on the mean
    negative log likelihood of drawing the codes one at a time in a random
    order, in nats a code: of a uniform number of codes, masked at random, the
    mean cross-entropy (Uria et al., 2014; Austin et al., 2021). Parallel
    decoding, which draws several at once, has a worse one. Which codes are
    masked depends on the example alone, so that every evaluation of a network
    is the same on all backends and devices.

    Example:
        levels = autoencoder.levels((256, 256))
        prior = MaskGIT(levels[1], coarser=levels[:1], num_classes=10)
        logits = prior(codes[1], labels=labels, coarser=codes[:1])

    Args:
        level: `Level` of the code map.
        coarser: The coarser `Level`s, coarsest first.
        num_classes: Number of labels; 0 for an unconditional prior.
        hidden_units: Width of the features, and of attention.
        residual_units: Inner width of the gated layers, 8/3 of `hidden_units`
            for the parameters of a plain layer of 4 times the width.
        layers: Number of blocks.
        heads: Heads of the attention.
        dropout: Rate in the blocks.
        local_attention: Whether each token attends to its neighbourhoods alone
            (see `LocalAttention`) and not to all tokens. A level further off
            than the one before, if there is one, is seen through those between.
        label_dropout: See `Prior`.
        rematerialize: Whether the gradient computes the blocks again instead of
            keeping their activations.

    Call arguments:
        codes: `[B, H, W]` int32 in [0, K]; K where a code is masked.
        labels: `[B]` int32 in [0, num_classes), if there are classes; -1 for
            none (see `ClassEmbedding`).
        coarser: List of `[B, h, w]` int32, coarsest first, one for each of
            the coarser levels.
        training: Whether dropout is active.

    Returns:
        Logits `[B, H, W, K]` float32, of all positions.

    Raises:
        ValueError: If an argument is out of range, or labels or coarser codes
            are missing or unexpected.
    """

    FLAGS = FLAGS
    SAMPLING_FLAGS = (
        *parallel.DECODING_FLAGS,
        *CategoricalHead.SAMPLING_FLAGS,
        *GUIDANCE_FLAGS,
    )
    selection_metric = "bound"

    def __init__(
        self,
        level,
        coarser=(),
        num_classes=0,
        hidden_units=256,
        residual_units=688,
        layers=8,
        heads=8,
        dropout=0.1,
        local_attention=False,
        label_dropout=0.0,
        rematerialize=False,
        **kwargs,
    ):
        super().__init__(level, coarser, num_classes, label_dropout, **kwargs)
        if hidden_units % heads:
            raise ValueError(
                "`heads` must divide `hidden_units`. Received: "
                f"heads={heads}, hidden_units={hidden_units}"
            )
        self.hidden_units = self.schedule_width = hidden_units
        self._mask_draws = keras.random.SeedGenerator()
        policy = self.dtype_policy
        levels = [*self.coarser, self.level]
        attend = _attend_to_all
        if local_attention:
            sizes = [level.size for level in levels]
            attend = LocalAttention(sizes, has_first=bool(num_classes))
        self.head = CategoricalHead(
            self.level.num_codes, hidden_units, dtype=policy
        )
        self.coarser_embeddings = [
            keras.layers.Embedding(other.num_codes, hidden_units, dtype=policy)
            for other in self.coarser
        ]
        if num_classes:
            self.class_embedding = ClassEmbedding(
                num_classes, hidden_units, bool(label_dropout), dtype=policy
            )
        self.blocks = [
            TransformerBlock(
                heads,
                residual_units,
                dropout,
                rematerialize,
                attend,
                dtype=policy,
            )
            for _ in range(layers)
        ]
        self.last_norm = keras.layers.RMSNormalization(dtype=policy)

    def build(self, codes_shape=None):
        units = self.hidden_units
        levels = [*self.coarser, self.level]
        count = sum(level.num_positions for level in levels)

        def vectors(name, count):
            return self.add_weight(
                name=name,
                shape=(count, units),
                initializer=keras.initializers.RandomNormal(stddev=0.02),
            )

        self.mask_vector = vectors("mask_vector", 1)
        self.positions = vectors("positions", count)
        self.level_vectors = vectors("level_vectors", len(levels))
        for embedding in self.coarser_embeddings:
            embedding.build()
        if self.num_classes:
            self.class_embedding.build()
        shape = (None, count + bool(self.num_classes), units)
        for block in self.blocks:
            block.build(shape)
        self.last_norm.build(shape)
        self.head.build(shape)

    def call(self, codes, labels=None, coarser=(), training=False):
        if tuple(codes.shape[1:]) != self.level.size:
            raise ValueError(
                f"`codes` must have the map size {self.level.size}. Received: "
                f"shape {tuple(codes.shape)}"
            )
        self.check_conditions(labels, coarser)
        x = self._tokens(codes, coarser)
        if labels is not None:
            of_class = self.class_embedding(labels)[:, None]
            x = ops.concatenate([of_class, x], axis=1)
        for block in self.blocks:
            x = block(x, training=training)
        logits = self.head(self.last_norm(x[:, -self.level.num_positions :]))
        shape = (-1, *self.level.size, self.level.num_codes)
        return ops.reshape(logits, shape)

    def _tokens(self, codes, coarser):
        """`[B, P, C]`, those of all maps, the coarsest first."""
        masked = ops.equal(codes, self.level.num_codes)[..., None]
        x = self.head.embed(ops.minimum(codes, self.level.num_codes - 1))
        mask_vector = ops.cast(self.mask_vector, x.dtype)
        x = ops.where(masked, mask_vector, x)
        pairs = zip(self.coarser_embeddings, coarser, strict=True)
        maps = [*(embedding(codes) for embedding, codes in pairs), x]
        tokens = []
        for i, x in enumerate(maps):
            shape = (-1, x.shape[1] * x.shape[2], self.hidden_units)
            of_level = ops.cast(self.level_vectors[i], x.dtype)
            tokens.append(ops.reshape(x, shape) + of_level)
        positions = ops.cast(self.positions, x.dtype)
        return ops.concatenate(tokens, axis=1) + positions

    def loss_and_statistics(self, batch, training=False):
        """See `Trainable`; the batch is that of `Prior`.

        The loss is in nats a masked code. In training the statistic is their
        `cross_entropy`, without label smoothing; else it is that of `bound`.
        """
        codes, labels, coarser = self.inputs(batch, training)
        masked = self._training_mask(codes) if training else bound_mask(codes)
        logits = self(
            ops.where(masked, self.level.num_codes, codes),
            labels,
            coarser,
            training=training,
        )
        shares = ops.cast(masked, "float32")
        shares = shares / ops.sum(shares, axis=(1, 2), keepdims=True)

        def mean(of_codes):
            return ops.sum(shares * of_codes, axis=(1, 2))

        nll = self.head.nll(logits, codes)
        loss = mean(nll)
        weights = batch.get("weight", ops.ones_like(loss))
        name = "cross_entropy" if training else "bound"
        statistics = {
            "images": ops.sum(weights),
            name: ops.sum(weights * loss),
        }
        if training:
            uniform = -ops.mean(ops.log_softmax(logits), axis=-1)
            loss = loss + _LABEL_SMOOTHING * mean(uniform - nll)
        return ops.mean(loss), statistics

    def _training_mask(self, codes):
        """`[B, H, W]` bool, with a share of each map that is drawn."""
        count = self.level.num_positions
        drawn = keras.random.uniform(
            (ops.shape(codes)[0], count + 1), seed=DrawnSeed(self._mask_draws)
        )
        most = 2 / math.pi * math.acos(_SMALLEST_SHARE)
        share = ops.cos(math.pi / 2 * most * drawn[:, :1])
        masked = ops.cast(ops.ceil(share * count), "int32")
        is_masked = parallel.lowest(drawn[:, 1:], masked)
        return ops.reshape(is_masked, (-1, *self.level.size))

    def metrics_from_statistics(self, statistics):
        """See `Trainable`.

        Returns:
            dict of one float, nats a code: `bound`, or in training
            `cross_entropy`.
        """
        images = statistics["images"]
        return {
            name: float(value / images)
            for name, value in statistics.items()
            if name != "images"
        }

    def draw(
        self,
        noise,
        labels=None,
        coarser=(),
        known=None,
        known_mask=None,
        guidance=1.0,
        guidance_schedule=0,
        **options,
    ):
        if not self.built:
            self.build()

        def draw_from(logits_of):
            return parallel.draw(
                logits_of,
                self.head,
                self.level,
                noise,
                known,
                known_mask,
                **options,
            )

        def plain():
            return draw_from(lambda codes, _: self(codes, labels, coarser))

        def guided():
            prior = Guided(self, guidance, guidance_schedule)
            return draw_from(
                lambda codes, progress: prior.logits(
                    codes, labels, coarser, progress
                )
            )

        return with_or_without(guidance, plain, guided)


def bound_mask(codes):
    """Which codes are masked for the bound: a function of the codes alone.

    Of the numbers of masked codes, 1 to P, each is as likely, and so are all
    the sets of so many.

    Args:
        codes: `[B, H, W]` int32.

    Returns:
        `[B, H, W]` bool.
    """
    height, width = codes.shape[1:]
    count = height * width
    positions = ops.arange(count + 1, dtype="int32")
    # Odd factors, so that a map's number changes with each of its codes.
    factors = ops.reshape(2 * positions[:-1] + 1, (height, width)) * 0x9E3779
    names = ops.sum(codes * factors, axis=(1, 2))
    bits = Noise(0, names).bits(positions, 1)[..., 0]
    bits = ops.cast(ops.right_shift(bits, ops.cast(9, "uint32")), "int32")
    masked = 1 + bits[:, -1:] % count
    return ops.reshape(
        parallel.lowest(bits[:, :-1], masked), (-1, height, width)
    )


def _attend_to_all(queries, keys, values):
    q, k, v = (ops.swapaxes(x, 1, 2) for x in (queries, keys, values))
    # On TPUs Keras' flash attention is causal where there is no mask.
    attended = ops.dot_product_attention(
        q, k, v, scale=1.0, flash_attention=False
    )
    return ops.swapaxes(attended, 1, 2)


Model = MaskGIT

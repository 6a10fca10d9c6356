"""Stage 2: a decoder-only transformer as the prior of one level."""

import keras
import numpy as np
from keras import ops

from vqvae2_tf.flags import CONDUCT
from vqvae2_tf.flags import Flag
from vqvae2_tf.layers import ClassEmbedding
from vqvae2_tf.layers import TransformerBlock
from vqvae2_tf.layers.dropout import dropout as drop
from vqvae2_tf.layers.recomputation import DrawnSeed
from vqvae2_tf.priors.base import RasterPrior
from vqvae2_tf.priors.heads import CategoricalHead

FLAGS = (
    Flag("hidden_units", 256, "Width of the features and of attention.", 1),
    Flag("residual_units", 688, "Inner width of the gated layers.", 1),
    Flag("layers", 8, "Number of blocks.", 1),
    Flag("heads", 8, "Heads of the attention.", 1),
    Flag("dropout", 0.1, "Dropout of embeddings and blocks.", 0.0, 0.99),
    Flag(
        "label_dropout",
        0.0,
        "Share of labels dropped in training, which guidance needs.",
        0,
        0.99,
    ),
    Flag("rematerialize", False, "Save memory by recomputation.", role=CONDUCT),
)


class Transformer(RasterPrior):
    """Autoregressive prior over one level's code map (MS-VQVAE, section 3.3).

    Codes are predicted in raster order from the codes before them and a prefix:
    the class, if there is one, and the codes of all coarser levels, coarsest
    first (equation 9). Prefix and codes are one sequence with one causal mask,
    as in figure 3, so that a sampler computes the prefix once and then one
    token a position. The input at a position is the code before it.

    A token's place is a learned row, a learned column and a learned level. A
    coarser code has the row and the column of the first position that it lies
    over. The blocks are those of `TransformerBlock`.

    Example:
        levels = autoencoder.levels((256, 256))
        prior = Transformer(levels[1], coarser=levels[:1], num_classes=10)
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
        dropout: Rate on the embedded codes and on what each layer adds.
        label_dropout: See `Prior`.
        rematerialize: Whether the gradient computes the blocks again instead
            of keeping their activations.

    Call arguments:
        codes: `[B, H, W]` int32 in [0, K).
        labels: `[B]` int32 in [0, num_classes), if there are classes; -1 for
            none (see `ClassEmbedding`).
        coarser: List of `[B, h, w]` int32, coarsest first, one for each of
            the coarser levels.
        training: Whether dropout is active.

    Returns:
        Logits `[B, H, W, K]` float32. Those at a position depend on no code at
        or after it.

    Raises:
        ValueError: If an argument is out of range, or labels or coarser codes
            are missing or unexpected.
    """

    FLAGS = FLAGS

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
        policy = self.dtype_policy.name

        def embedding(count):
            return keras.layers.Embedding(count, hidden_units, dtype=policy)

        self.head = CategoricalHead(
            self.level.num_codes, hidden_units, dtype=policy
        )
        self.coarser_embeddings = [
            embedding(other.num_codes) for other in self.coarser
        ]
        self.row_embedding = embedding(self.level.height)
        self.column_embedding = embedding(self.level.width)
        self.level_embedding = embedding(len(self.coarser) + 1)
        if num_classes:
            self.class_embedding = ClassEmbedding(
                num_classes, hidden_units, bool(label_dropout), dtype=policy
            )
        self.dropout = keras.layers.Dropout(dropout, dtype=policy)
        self.blocks = [
            TransformerBlock(
                heads, residual_units, dropout, rematerialize, dtype=policy
            )
            for _ in range(layers)
        ]
        self.norm = keras.layers.RMSNormalization(dtype=policy)

    def build(self, codes_shape=None):
        features = (None, None, self.hidden_units)
        for layer in (
            *self.coarser_embeddings,
            *(self.row_embedding, self.column_embedding, self.level_embedding),
        ):
            layer.build()
        if self.num_classes:
            self.class_embedding.build()
        for block in self.blocks:
            block.build(features)
        self.norm.build(features)
        self.head.build((None, *self.level.size, self.hidden_units))

    def _places(self, index):
        """`[h * w, C]`: where the tokens of a level are, this one's last."""
        height, width = [*self.coarser, self.level][index].size
        # Of the first position that each lies over.
        rows = np.arange(height) * self.level.height // height
        columns = np.arange(width) * self.level.width // width
        rows, columns = np.meshgrid(rows, columns, indexing="ij")
        return (
            self.row_embedding(rows.flatten())
            + self.column_embedding(columns.flatten())
            + self.level_embedding(np.int32([index]))
        )

    def prefix(self, labels=None, coarser=()):
        """Tokens before the map: the class and the coarser codes.

        Args:
            labels: As in the call.
            coarser: As in the call.

        Returns:
            List of `[B, S, C]`: one of the class, if there is one, with S = 1,
            and one of each coarser level.
        """
        self.check_conditions(labels, coarser)
        parts = []
        if labels is not None:
            parts.append(self.class_embedding(labels)[:, None])
        pairs = zip(self.coarser_embeddings, coarser, strict=True)
        for index, (embedding, codes) in enumerate(pairs):
            count = self.coarser[index].num_positions
            codes = ops.reshape(codes, (-1, count))
            parts.append(embedding(codes) + self._places(index))
        return parts

    def call(self, codes, labels=None, coarser=(), training=False):
        size = self.level.size
        if tuple(codes.shape[1:]) != size:
            raise ValueError(
                f"`codes` must have the map size {size}. Received: shape "
                f"{tuple(codes.shape)}"
            )
        count = self.level.num_positions
        before = self.head.embed(ops.reshape(codes, (-1, count)))[:, :-1]
        # Nothing is before the first one.
        before = ops.pad(before, [[0, 0], [1, 0], [0, 0]])
        own = before + self._places(len(self.coarser))
        x = ops.concatenate([*self.prefix(labels, coarser), own], axis=1)
        if training and self.dropout.rate:
            seed = DrawnSeed(self.dropout.seed_generator)
            x = drop(x, self.dropout.rate, seed)
        for block in self.blocks:
            x = block(x, training=training)
        x = ops.reshape(x[:, -count:], (-1, *size, self.hidden_units))
        return self.head(self.norm(x))

    def initial_state(self, batch_size, labels=None, coarser=()):
        if not self.built:
            self.build()
        prefix = self.prefix(labels, coarser)
        x = ops.concatenate(prefix, axis=1) if prefix else None
        states = []
        for block in self.blocks:
            left = None
            if prefix:
                x, left = block.prefill(x)
            states.append(
                block.initial_state(batch_size, self.level.size, left)
            )
        shape = (batch_size, self.hidden_units)
        return {
            "before": ops.zeros(shape, self.compute_dtype),
            "places": self._places(len(self.coarser)),
            "blocks": states,
        }

    def next_row(self, state, row):
        pairs = zip(self.blocks, state["blocks"], strict=True)
        states = [b.next_row(own, self.level.size, row) for b, own in pairs]
        return {**state, "blocks": states}

    def step(self, state, row, column):
        position = row * self.level.width + column
        x = state["before"] + ops.take(state["places"], position, axis=0)
        states = []
        for block, own in zip(self.blocks, state["blocks"], strict=True):
            x, own = block.step(own, x, self.level.size, row, column)
            states.append(own)
        return self.head(self.norm(x)), {**state, "blocks": states}

    def write(self, state, codes, column):
        return {**state, "before": self.head.embed(codes)}


Model = Transformer

"""Stage 2: the PixelSNAIL-style autoregressive prior of one level."""

import keras
import numpy as np
from keras import ops

from vqvae2_tf.flags import CONDUCT
from vqvae2_tf.flags import Flag
from vqvae2_tf.layers import CausalAttention
from vqvae2_tf.layers import CausalConv2D
from vqvae2_tf.layers import ClassEmbedding
from vqvae2_tf.layers import ConditioningStack
from vqvae2_tf.layers import GatedResidual
from vqvae2_tf.layers import Upsampler
from vqvae2_tf.priors.base import RasterPrior
from vqvae2_tf.priors.heads import CategoricalHead

FLAGS = (
    Flag("hidden_units", 512, "Width of the features and of attention.", 1),
    Flag("residual_units", 1024, "Inner width of the gated layers.", 1),
    Flag("layers", 20, "Number of gated layers.", 1),
    Flag("attention_every", 5, "Gated layers per attention; 0 for none.", 0),
    Flag("heads", 8, "Heads of the attention.", 1),
    Flag("kernel_size", 5, "Size of the causal convolutions, odd.", 3),
    Flag(
        "second_kernel_size",
        1,
        "Size of a gated layer's second convolution.",
        1,
    ),
    Flag("dropout", 0.1, "Dropout in gated layers and attention.", 0.0, 0.99),
    Flag("output_layers", 0, "Number of 1x1 gated layers at the end.", 0),
    Flag("conditioning_blocks", 20, "Blocks that read the coarser codes.", 0),
    Flag("conditioning_units", 1024, "Width of the conditioning stack.", 4),
    Flag(
        "label_dropout",
        0.0,
        "Share of labels dropped in training, which guidance needs.",
        0,
        0.99,
    ),
    Flag("rematerialize", False, "Save memory by recomputation.", role=CONDUCT),
)


class PixelSNAIL(RasterPrior):
    """Autoregressive prior over one level's code map (supplement A.2).

    Codes are predicted in raster order from the codes before them, the class
    label if there is one, and the codes of all coarser levels. A strictly
    causal convolution embeds the map; gated residual layers follow, with
    causal attention after every `attention_every` of them; a stack of 1x1
    gated layers ends in the logits. Coarser codes pass the conditioning stack
    and reach every gated layer, as does the class.

    Example:
        levels = autoencoder.levels((256, 256))
        prior = PixelSNAIL(levels[1], coarser=levels[:1], num_classes=10)
        logits = prior(codes[1], labels=labels, coarser=codes[:1])

    Args:
        level: `Level` of the code map.
        coarser: The coarser `Level`s, coarsest first.
        num_classes: Number of labels; 0 for an unconditional prior.
        hidden_units: Width of the features, and of attention.
        residual_units: Inner width of the gated layers.
        layers: Number of gated layers.
        attention_every: Causal attention after every so many gated layers; 0
            for none. (5 in the paper's top prior, 20 in its middle one.)
        heads: Heads of the attention.
        kernel_size: Size of the causal convolutions, odd.
        second_kernel_size: Size of the second convolution of the gated
            layers: 1, or `kernel_size` as in PixelSNAIL.
        dropout: Rate in the gated layers and on the attention logits.
        output_layers: Number of 1x1 gated layers at the end.
        conditioning_blocks: Blocks of the conditioning stack.
        conditioning_units: Width of the conditioning stack.
        label_dropout: See `Prior`.
        rematerialize: Whether the gradient computes the gated layers again
            instead of keeping their activations.

    Call arguments:
        codes: `[B, H, W]` int32 in [0, K).
        labels: `[B]` int32 in [0, num_classes), if there are classes; -1 for
            none (see `ClassEmbedding`).
        coarser: List of `[B, h, w]` int32, coarsest first, one for each of
            the coarser levels.
        training: Whether dropout and batch statistics are active.

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
        hidden_units=512,
        residual_units=1024,
        layers=20,
        attention_every=5,
        heads=8,
        kernel_size=5,
        second_kernel_size=1,
        dropout=0.1,
        output_layers=0,
        conditioning_blocks=20,
        conditioning_units=1024,
        label_dropout=0.0,
        rematerialize=False,
        **kwargs,
    ):
        super().__init__(level, coarser, num_classes, label_dropout, **kwargs)
        if attention_every > layers:
            raise ValueError(
                "`attention_every` must be at most `layers`. Received: "
                f"attention_every={attention_every}, layers={layers}"
            )
        if attention_every and hidden_units % heads:
            raise ValueError(
                "`heads` must divide `hidden_units`. Received: "
                f"heads={heads}, hidden_units={hidden_units}"
            )
        self.hidden_units = self.schedule_width = hidden_units
        policy = self.dtype_policy.name

        def gated(*sizes):
            options = {"dropout": dropout, "rematerialize": rematerialize}
            return GatedResidual(
                residual_units, *sizes, **options, dtype=policy
            )

        def embedding(count):
            layer = keras.layers.Embedding(count, hidden_units, dtype=policy)
            layer.build()
            return layer

        num_codes = self.level.num_codes
        self.head = CategoricalHead(num_codes, hidden_units, dtype=policy)
        self.first_conv = CausalConv2D(
            hidden_units, kernel_size, strict=True, dtype=policy
        )
        # Blocks of gated layers; attention and a gated layer that merges it
        # close each block but an unfinished last one.
        self.blocks, self.attentions, self.merges = [], [], []
        block_size = attention_every or layers
        for start in range(0, layers, block_size):
            count = min(block_size, layers - start)
            sizes = (kernel_size, second_kernel_size)
            self.blocks.append([gated(*sizes) for _ in range(count)])
            if attention_every and count == block_size:
                self.attentions.append(
                    CausalAttention(hidden_units, heads, dropout, dtype=policy)
                )
                self.merges.append(gated(1))
        self.output_layers = [gated(1) for _ in range(output_layers)]
        # Built here, since first weights are drawn in this order.
        self.head.build((None, *self.level.size, hidden_units))
        if num_classes:
            self.class_embedding = ClassEmbedding(
                num_classes, hidden_units, bool(label_dropout), dtype=policy
            )
            self.class_embedding.build()
        if self.coarser:
            self.coarser_embeddings = [
                embedding(other.num_codes) for other in self.coarser
            ]
            self.conditioning_stack = ConditioningStack(
                conditioning_units, conditioning_blocks, dtype=policy
            )
            factor = self._upsampling_factor()
            self.conditioning_upsampler = Upsampler(
                factor, hidden_units, conditioning_units, dtype=policy
            )

    def _upsampling_factor(self):
        sizes = [level.size for level in (*self.coarser, self.level)]
        height, width = sizes[-2]
        factor = self.level.height // height
        divide = all(height % h == width % w == 0 for h, w in sizes[:-1])
        if not divide or (height * factor, width * factor) != self.level.size:
            raise ValueError(
                "All of `coarser` must divide the last of them, and `level` "
                f"must be a whole multiple of it. Received: {sizes}"
            )
        return factor

    def build(self, codes_shape=None):
        # Explicit, for the order in which first weights are drawn.
        features = (None, *self.level.size, self.hidden_units)
        self.first_conv.build(features)
        optional = {}
        if self.num_classes:
            optional["class_embedding_shape"] = (None, self.hidden_units)
        if self.coarser:
            above = (None, *self.coarser[-1].size)
            stack = self.conditioning_stack
            stack.build((*above, len(self.coarser) * self.hidden_units))
            self.conditioning_upsampler.build((*above, stack.units))
            optional["conditioning_shape"] = features
        for block in self.blocks:
            for layer in block:
                layer.build(features, **optional)
        queries = (*features[:-1], self.hidden_units + 2)
        memory = (*features[:-1], 2 * self.hidden_units + 2)
        for attention, merge in zip(self.attentions, self.merges, strict=True):
            attention.build(queries, memory)
            merge.build(features, auxiliary_shape=features, **optional)
        for layer in self.output_layers:
            layer.build(features, **optional)

    def _coordinates(self):
        """`[H, W, 2]`: (i - H/2) / H and (j - W/2) / W."""
        sizes = self.level.size
        axes = [(np.arange(n, dtype="float32") - n / 2) / n for n in sizes]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        return ops.convert_to_tensor(grid, dtype=self.compute_dtype)

    def conditioning(self, labels=None, coarser=(), training=False):
        """Conditioning inputs that all gated layers share.

        The class embedding and the upsampled coarser codes.

        Args:
            labels: As in the call.
            coarser: As in the call.
            training: As in the call.

        Returns:
            dict of the gated layers' optional call arguments.
        """
        self.check_conditions(labels, coarser)
        conditions = {}
        if labels is not None:
            conditions["class_embedding"] = self.class_embedding(labels)
        if coarser:
            height, width = self.coarser[-1].size
            maps = []
            pairs = zip(self.coarser_embeddings, coarser, strict=True)
            for embedding, codes in pairs:
                x = embedding(codes)
                x = ops.repeat(x, height // codes.shape[1], axis=1)
                maps.append(ops.repeat(x, width // codes.shape[2], axis=2))
            x = ops.concatenate(maps, axis=-1)
            x = self.conditioning_stack(x, training=training)
            conditions["conditioning"] = self.conditioning_upsampler(x)
        return conditions

    def call(self, codes, labels=None, coarser=(), training=False):
        if tuple(codes.shape[1:]) != self.level.size:
            raise ValueError(
                f"`codes` must have the map size {self.level.size}. Received: "
                f"shape {tuple(codes.shape)}"
            )
        conditions = self.conditioning(labels, coarser, training)

        def gated(layer, x, **auxiliary):
            return layer(x, **auxiliary, **conditions, training=training)

        def attend(attention, queries, memory):
            return attention(queries, memory, training=training)

        x = self.first_conv(self.head.embed(codes))
        return self._logits(x, self._coordinates(), gated, attend)

    def _logits(self, x, coordinates, gated, attend):
        """Logits, of whole maps in `call` and of one position in `step`.

        Args:
            x: `[B, ..., hidden_units]`, output of the first convolution.
            coordinates: `[..., 2]`.
            gated: Function of a gated layer and its inputs.
            attend: Function of an attention, its queries and its memory.
        """
        shape = (*ops.shape(x)[:-1], 2)
        coordinates = ops.broadcast_to(coordinates, shape)
        for i, block in enumerate(self.blocks):
            block_input = x
            for layer in block:
                x = gated(layer, x)
            if i < len(self.attentions):
                queries = ops.concatenate([x, coordinates], axis=-1)
                memory = ops.concatenate([block_input, queries], axis=-1)
                attended = attend(self.attentions[i], queries, memory)
                x = gated(self.merges[i], x, auxiliary=attended)
        for layer in self.output_layers:
            x = gated(layer, x)
        return self.head(ops.elu(x))

    def initial_state(self, batch_size, labels=None, coarser=()):
        if not self.built:
            self.build((None, *self.level.size))
        width = self.level.width
        conditions = self.conditioning(labels, coarser)
        own = (batch_size, width, conditions.pop("class_embedding", None))
        attentions = [a.initial_state(batch_size) for a in self.attentions]
        return {
            "first_conv": self.first_conv.initial_state(batch_size, width),
            "gated": [g.initial_state(*own) for g in self._gated_layers()],
            "attentions": attentions,
            # The conditioning map, if there is one.
            "conditions": conditions,
        }

    def next_row(self, state, row):
        conditions = {
            name: ops.take(x, row, axis=1)
            for name, x in state["conditions"].items()
        }
        gated = zip(self._gated_layers(), state["gated"], strict=True)
        attentions = zip(self.attentions, state["attentions"], strict=True)
        return {
            **state,
            "first_conv": self.first_conv.next_row(state["first_conv"]),
            "gated": [g.next_row(own, **conditions) for g, own in gated],
            "attentions": [a.next_row(own, row) for a, own in attentions],
        }

    def step(self, state, row, column):
        before = {name: iter(state[name]) for name in ("gated", "attentions")}
        after = {"gated": [], "attentions": []}

        def advance(kind, layer, *inputs, **auxiliary):
            y, own = layer.step(next(before[kind]), *inputs, **auxiliary)
            after[kind].append(own)
            return y

        def gated(layer, x, **auxiliary):
            return advance("gated", layer, x, column, **auxiliary)

        def attend(layer, queries, memory):
            return advance("attentions", layer, queries, memory, row, column)

        x = self.first_conv.read(state["first_conv"], column)
        here = ops.slice(self._coordinates(), (row, column, 0), (1, 1, 2))
        logits = self._logits(x, here[0], gated, attend)
        return logits, {**state, **after}

    def write(self, state, codes, column):
        x = self.head.embed(codes)
        first_conv = self.first_conv.write(state["first_conv"], x, column)
        return {**state, "first_conv": first_conv}

    def _gated_layers(self):
        """In the order in which they are called."""
        layers = []
        for i, block in enumerate(self.blocks):
            layers += [*block, *self.merges[i : i + 1]]
        return layers + self.output_layers


Model = PixelSNAIL

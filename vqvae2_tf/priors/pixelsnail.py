"""Stage 2: the PixelSNAIL-style autoregressive prior of one level."""

import math

import keras
import numpy as np
from keras import ops

from vqvae2_tf.layers import CausalAttention
from vqvae2_tf.layers import CausalConv2D
from vqvae2_tf.layers import ConditioningStack
from vqvae2_tf.layers import GatedResidual
from vqvae2_tf.layers import Upsampler


@keras.saving.register_keras_serializable("vqvae2_tf")
class PixelSNAIL(keras.Model):
    """Autoregressive prior over one level's code map (supplement A.2).

    Codes are predicted in raster order from the codes before them, the class
    label if there is one, and the codes of all coarser levels. A strictly
    causal convolution embeds the map; gated residual layers follow, with
    causal attention after every `attention_every` of them; a stack of 1x1
    gated layers ends in the logits. Coarser codes go through the conditioning
    stack and reach every gated layer, as does the class.

    Args:
        map_size: `(H, W)` of the code map.
        num_codes: K, of this level and the coarser ones.
        hidden_units: Width of the features, and of attention.
        residual_units: Inner width of the gated layers.
        num_layers: Number of gated layers.
        attention_every: Causal attention after every so many gated layers; 0
            for none. (5 in the paper's top prior, 20 in its middle one.)
        num_heads: Heads of the attention.
        kernel_size: Size of the causal convolutions, odd.
        dropout: Rate in the gated layers and on the attention logits.
        num_output_layers: Number of 1x1 gated layers at the end.
        num_classes: Number of labels; 0 for an unconditional prior.
        coarser_map_sizes: `(H, W)` of each coarser level, coarsest first.
        num_conditioning_blocks: Blocks of the conditioning stack.
        conditioning_units: Width of the conditioning stack.
        second_kernel_size: Size of the second convolution of the gated
            layers: 1, or `kernel_size` as in PixelSNAIL.
        rematerialize: Whether the gradient computes the gated layers again
            instead of keeping what is inside them.

    Call arguments:
        codes: `[B, H, W]` int32 in [0, K).
        labels: `[B]` int32 in [0, num_classes), if there are classes.
        coarser: List of `[B, h, w]` int32, coarsest first, one for each of
            `coarser_map_sizes`.
        training: Whether dropout and batch statistics are active.

    Returns:
        Logits `[B, H, W, K]` float32. Those at a position depend on no code at
        or after it.

    Raises:
        ValueError: If an argument is out of range, or labels or coarser codes
            are missing or unexpected.
    """

    selection_metric = "nll"

    def __init__(
        self,
        map_size,
        num_codes,
        hidden_units=512,
        residual_units=2048,
        num_layers=20,
        attention_every=5,
        num_heads=8,
        kernel_size=5,
        dropout=0.1,
        num_output_layers=0,
        num_classes=0,
        coarser_map_sizes=(),
        num_conditioning_blocks=20,
        conditioning_units=1024,
        second_kernel_size=1,
        rematerialize=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if num_layers < 1 or attention_every < 0:
            raise ValueError(
                "`num_layers` must be at least 1 and `attention_every` not "
                f"negative. Received: num_layers={num_layers}, "
                f"attention_every={attention_every}"
            )
        self.map_size = tuple(map_size)
        self.coarser_map_sizes = [tuple(size) for size in coarser_map_sizes]
        self.num_codes = num_codes
        self.num_classes = num_classes
        self.hidden_units = hidden_units
        self._config = {
            "map_size": self.map_size,
            "num_codes": num_codes,
            "hidden_units": hidden_units,
            "residual_units": residual_units,
            "num_layers": num_layers,
            "attention_every": attention_every,
            "num_heads": num_heads,
            "kernel_size": kernel_size,
            "second_kernel_size": second_kernel_size,
            "dropout": dropout,
            "num_output_layers": num_output_layers,
            "num_classes": num_classes,
            "coarser_map_sizes": self.coarser_map_sizes,
            "num_conditioning_blocks": num_conditioning_blocks,
            "conditioning_units": conditioning_units,
            "rematerialize": rematerialize,
        }
        self.conditioning_units = conditioning_units
        policy = self.dtype_policy

        def gated(*kernel_sizes):
            return GatedResidual(
                residual_units,
                *kernel_sizes,
                dropout=dropout,
                rematerialize=rematerialize,
                dtype=policy,
            )

        self.code_embedding = keras.layers.Embedding(
            num_codes, hidden_units, dtype=policy
        )
        self.first_conv = CausalConv2D(
            hidden_units, kernel_size, strict=True, dtype=policy
        )
        # Blocks of gated layers; attention and a gated layer that merges it
        # close each block but an unfinished last one.
        block_size = attention_every or num_layers
        self.blocks = []
        self.attentions = []
        self.merges = []
        for start in range(0, num_layers, block_size):
            layers = min(block_size, num_layers - start)
            self.blocks.append(
                [gated(kernel_size, second_kernel_size) for _ in range(layers)]
            )
            if attention_every and layers == block_size:
                self.attentions.append(
                    CausalAttention(
                        hidden_units, num_heads, dropout, dtype=policy
                    )
                )
                self.merges.append(gated(1))
        self.output_layers = [gated(1) for _ in range(num_output_layers)]
        # In bfloat16 the likelihoods themselves would be rounded.
        self.logits = keras.layers.Dense(num_codes, dtype="float32")
        if num_classes:
            self.class_embedding = keras.layers.Embedding(
                num_classes, hidden_units, dtype=policy
            )
        if self.coarser_map_sizes:
            self.coarser_embeddings = [
                keras.layers.Embedding(num_codes, hidden_units, dtype=policy)
                for _ in self.coarser_map_sizes
            ]
            self.conditioning_stack = ConditioningStack(
                conditioning_units, num_conditioning_blocks, dtype=policy
            )
            self.conditioning_upsampler = Upsampler(
                self._upsampling_factor(),
                hidden_units,
                conditioning_units,
                dtype=policy,
            )

    def _upsampling_factor(self):
        above = self.coarser_map_sizes[-1]
        for size in self.coarser_map_sizes:
            if above[0] % size[0] or above[1] % size[1]:
                raise ValueError(
                    "The last of `coarser_map_sizes` must be a multiple of "
                    f"each of them. Received: {self.coarser_map_sizes}"
                )
        factor = self.map_size[0] // above[0]
        if (above[0] * factor, above[1] * factor) != self.map_size:
            raise ValueError(
                "`map_size` must be a whole multiple of the last of "
                "`coarser_map_sizes`. Received: "
                f"map_size={self.map_size}, "
                f"coarser_map_sizes={self.coarser_map_sizes}"
            )
        return factor

    def build(self, codes_shape=None):
        height, width = self.map_size
        features = (None, height, width, self.hidden_units)
        self.code_embedding.build((None, height, width))
        self.first_conv.build(features)
        optional = {}
        if self.num_classes:
            self.class_embedding.build((None,))
            optional["class_embedding_shape"] = (None, self.hidden_units)
        if self.coarser_map_sizes:
            above = self.coarser_map_sizes[-1]
            for embedding, size in zip(
                self.coarser_embeddings, self.coarser_map_sizes, strict=True
            ):
                embedding.build((None, *size))
            count = len(self.coarser_map_sizes)
            self.conditioning_stack.build(
                (None, *above, count * self.hidden_units)
            )
            self.conditioning_upsampler.build(
                (None, *above, self.conditioning_units)
            )
            optional["conditioning_shape"] = features
        for block in self.blocks:
            for layer in block:
                layer.build(features, **optional)
        queries = (None, height, width, self.hidden_units + 2)
        memory = (None, height, width, 2 * self.hidden_units + 2)
        for attention, merge in zip(self.attentions, self.merges, strict=True):
            attention.build(queries, memory)
            merge.build(features, auxiliary_shape=features, **optional)
        for layer in self.output_layers:
            layer.build(features, **optional)
        self.logits.build(features)

    def _coordinates(self):
        """`[H, W, 2]`: (i - H/2) / H and (j - W/2) / W."""
        height, width = self.map_size
        rows = (np.arange(height, dtype="float32") - height / 2) / height
        columns = (np.arange(width, dtype="float32") - width / 2) / width
        grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
        return ops.convert_to_tensor(grid, dtype=self.compute_dtype)

    def _check(self, labels, coarser):
        if (labels is not None) != bool(self.num_classes):
            raise ValueError(
                "`labels` are expected exactly if the prior has classes. "
                f"Received: labels={labels}, num_classes={self.num_classes}"
            )
        sizes = [tuple(codes.shape[1:]) for codes in coarser]
        if sizes != self.coarser_map_sizes:
            raise ValueError(
                "`coarser` must hold one code map for each of the sizes "
                f"{self.coarser_map_sizes}. Received: {sizes}"
            )

    def conditioning(self, labels=None, coarser=(), training=False):
        """What every gated layer is told; the same for all positions' codes.

        Args:
            labels: As in the call.
            coarser: As in the call.
            training: As in the call.

        Returns:
            dict of the gated layers' optional call arguments.
        """
        self._check(labels, coarser)
        given = {}
        if labels is not None:
            given["class_embedding"] = self.class_embedding(labels)
        if coarser:
            height, width = self.coarser_map_sizes[-1]
            maps = []
            for embedding, codes, size in zip(
                self.coarser_embeddings,
                coarser,
                self.coarser_map_sizes,
                strict=True,
            ):
                x = embedding(codes)
                x = ops.repeat(x, height // size[0], axis=1)
                maps.append(ops.repeat(x, width // size[1], axis=2))
            x = ops.concatenate(maps, axis=-1)
            x = self.conditioning_stack(x, training=training)
            given["conditioning"] = self.conditioning_upsampler(x)
        return given

    def call(self, codes, labels=None, coarser=(), training=False):
        if tuple(codes.shape[1:]) != self.map_size:
            raise ValueError(
                f"`codes` must have the map size {self.map_size}. Received: "
                f"shape {tuple(codes.shape)}"
            )
        given = self.conditioning(labels, coarser, training)
        given["training"] = training
        x = self.first_conv(self.code_embedding(codes))
        coordinates = self._coordinates()
        coordinates = ops.broadcast_to(
            coordinates, (ops.shape(x)[0], *coordinates.shape)
        )
        for i, block in enumerate(self.blocks):
            block_input = x
            for layer in block:
                x = layer(x, **given)
            if i < len(self.attentions):
                queries = ops.concatenate([x, coordinates], axis=-1)
                memory = ops.concatenate([block_input, queries], axis=-1)
                attended = self.attentions[i](
                    queries, memory, training=training
                )
                x = self.merges[i](x, auxiliary=attended, **given)
        for layer in self.output_layers:
            x = layer(x, **given)
        return self.logits(ops.elu(x))

    def initial_state(self, batch_size, labels=None, coarser=()):
        """State above the first row, for a pass position by position.

        The state is a nest of tensors. `next_row` starts each row; at each
        position `step` gives the logits and `write` takes the code. The
        logits are those of the call; what the class and the coarser codes say
        is computed here.

        Args:
            batch_size: B.
            labels: As in the call.
            coarser: As in the call.
        """
        if not self.built:
            self.build((None, *self.map_size))
        given = self.conditioning(labels, coarser)
        width = self.map_size[1]
        class_embedding = given.get("class_embedding")
        state = {
            "first_conv": self.first_conv.initial_state(batch_size, width),
            "gated": [
                layer.initial_state(
                    batch_size, width, class_embedding, "conditioning" in given
                )
                for layer in self._gated_layers()
            ],
            "attentions": [
                attention.initial_state(batch_size)
                for attention in self.attentions
            ],
        }
        if "conditioning" in given:
            state["conditioning"] = given["conditioning"]
        return state

    def next_row(self, state, row):
        """State at the start of a row, the first one included.

        Args:
            state: State at the end of the row above.
            row: int32 scalar, number of the row that starts.
        """
        given = {}
        if "conditioning" in state:
            shape = (-1, 1, *state["conditioning"].shape[2:])
            given["conditioning"] = ops.squeeze(
                ops.slice(state["conditioning"], (0, row, 0, 0), shape), axis=1
            )
        return {
            **state,
            "first_conv": self.first_conv.next_row(state["first_conv"]),
            "gated": [
                layer.next_row(layer_state, **given)
                for layer, layer_state in zip(
                    self._gated_layers(), state["gated"], strict=True
                )
            ],
            "attentions": [
                attention.next_row(attention_state, row)
                for attention, attention_state in zip(
                    self.attentions, state["attentions"], strict=True
                )
            ],
        }

    def step(self, state, row, column):
        """Logits at a position, from the codes written so far.

        Args:
            state: State with the codes before this one.
            row: int32 scalar.
            column: int32 scalar.

        Returns:
            Tuple of the logits `[B, K]` float32 and the state.
        """
        x = self.first_conv.read(state["first_conv"], column)
        coordinates = ops.slice(
            self._coordinates(), (row, column, 0), (1, 1, 2)
        )
        coordinates = ops.broadcast_to(
            ops.reshape(coordinates, (1, 2)), (ops.shape(x)[0], 2)
        )
        before = iter(state["gated"])
        gated, attentions = [], []

        def advance(layer, x, **given):
            x, layer_state = layer.step(next(before), x, column, **given)
            gated.append(layer_state)
            return x

        for i, block in enumerate(self.blocks):
            block_input = x
            for layer in block:
                x = advance(layer, x)
            if i < len(self.attentions):
                queries = ops.concatenate([x, coordinates], axis=-1)
                memory = ops.concatenate([block_input, queries], axis=-1)
                attended, attention_state = self.attentions[i].step(
                    state["attentions"][i], queries, memory, row, column
                )
                attentions.append(attention_state)
                x = advance(self.merges[i], x, auxiliary=attended)
        for layer in self.output_layers:
            x = advance(layer, x)
        logits = ops.cast(self.logits(ops.elu(x)), "float32")
        return logits, {**state, "gated": gated, "attentions": attentions}

    def write(self, state, codes, column):
        """State with the codes `[B]` int32 at a column of this row."""
        first_conv = self.first_conv.write(
            state["first_conv"], self.code_embedding(codes), column
        )
        return {**state, "first_conv": first_conv}

    def _gated_layers(self):
        """In the order in which they are called."""
        layers = []
        for i, block in enumerate(self.blocks):
            layers += [*block, *self.merges[i : i + 1]]
        return layers + self.output_layers

    def loss_and_statistics(self, batch, training=False):
        """Training loss of a batch, and sums that metrics are made of.

        Args:
            batch: dict with `codes` (list of `[B, h, w]` int32, coarsest
                first; levels finer than this prior's are ignored), `label`
                `[B]` int32, and optionally `weight` `[B]` float32, 0 for
                padding.
            training: Whether dropout and batch statistics are active.

        Returns:
            Tuple of the loss (float32 scalar, nats a code, the batch's mean)
            and a dict of tensors that may be added over batches and replicas.
        """
        level = len(self.coarser_map_sizes)
        codes = batch["codes"][level]
        logits = self(
            codes,
            labels=batch["label"] if self.num_classes else None,
            coarser=batch["codes"][:level],
            training=training,
        )
        nll = ops.mean(
            ops.sparse_categorical_crossentropy(
                codes, logits, from_logits=True
            ),
            axis=(1, 2),
        )
        weights = batch.get("weight")
        if weights is None:
            weights = ops.ones_like(nll)
        statistics = {
            "images": ops.sum(weights),
            "nll": ops.sum(weights * nll),
        }
        return ops.mean(nll), statistics

    def metrics_from_statistics(self, statistics):
        """Metrics of everything the statistics were added over.

        Args:
            statistics: Sums of `loss_and_statistics`, as NumPy arrays.

        Returns:
            dict of floats: `nll` in nats a code, `bits_per_image` of this
            level.
        """
        nll = float(statistics["nll"] / statistics["images"])
        return {
            "nll": nll,
            "bits_per_image": nll * math.prod(self.map_size) / math.log(2),
        }

    def objectives(self):
        """Trained variables, by the name of the loss that trains them."""
        return {"loss": self.trainable_variables}

    def images_to_show(self, batch):
        """What is worth looking at while this model trains: nothing."""
        return {}

    def get_config(self):
        return {**super().get_config(), **self._config}

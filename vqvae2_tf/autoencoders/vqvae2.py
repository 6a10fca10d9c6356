"""Stage 1: the hierarchical VQ-VAE."""

import keras
from keras import ops

from vqvae2_tf.evaluation import measures
from vqvae2_tf.layers import Decoder
from vqvae2_tf.layers import Encoder
from vqvae2_tf.layers import Upsampler
from vqvae2_tf.layers import VectorQuantizer
from vqvae2_tf.layers.recomputation import DrawnSeed
from vqvae2_tf.level import latent_map_sizes
from vqvae2_tf.level import level_names


@keras.saving.register_keras_serializable("vqvae2_tf")
class VQVAE2(keras.Model):
    """N-level hierarchical VQ-VAE (VQ-VAE-2, section 3.1, algorithm 1).

    Encoders are chained from fine to coarse. From coarse to fine, each level
    quantizes a 1x1 projection of its encoder's features and the decoded codes
    of the next coarser level. The picture's decoder reads every level's
    quantized map, upsampled to the bottom's resolution. One level is the plain
    VQ-VAE. Levels are listed coarsest first.

    Args:
        strides: Factors from the pixels to the bottom map, from there to the
            next coarser one, and so on; powers of two, one a level.
        hidden_units: Width of encoders and decoders.
        residual_units: Inner width of the residual stacks.
        num_residual_layers: Layers of each residual stack.
        num_codes: K of every level's codebook.
        code_dim: D of every level's codebook.
        channels: Channels of the pictures.
        commitment_cost: Beta of equation 2.
        ema_decay: Gamma of the codebooks' moving averages.
        restart_after: See `VectorQuantizer`.
        level_dropout: Probability that, in training, a picture is decoded
            from its coarser levels alone: from the top, or down to any level
            but the bottom, equally likely. The finer levels are at their
            means. 0 (default, as in the paper) never does. Without it short
            trainings leave the picture to the bottom and the top says
            nothing, which the priors then lack.
        level_dropout_steps: Training steps in which the level dropout falls
            to 0, by the same amount each. 0 (default) leaves it as it is.
        seed: Seed of the codebooks' draws and of the level dropout.

    Call arguments:
        images: `[B, H, W, channels]` float32 in [-1, 1]; the strides divide H
            and W.
        training: Only `True` updates the codebooks.

    Returns:
        dict with `reconstruction` (the images' shape, float32, not clipped),
        `codes` (list of `[B, h, w]` int32 in [0, K)), `commitment_loss`
        (float32 scalar, summed over levels).

    Raises:
        ValueError: If an argument is out of range or the strides do not
            divide the pictures' size.
    """

    selection_metric = "mse"

    def __init__(
        self,
        strides=(4, 2),
        hidden_units=128,
        residual_units=64,
        num_residual_layers=2,
        num_codes=512,
        code_dim=64,
        channels=3,
        commitment_cost=0.25,
        ema_decay=0.99,
        restart_after=0,
        level_dropout=0.0,
        level_dropout_steps=0,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.strides = tuple(strides)
        if not self.strides:
            raise ValueError("`strides` must hold one factor a level.")
        if not 0.0 <= level_dropout < 1.0:
            raise ValueError(
                f"`level_dropout` must be in [0, 1). Received: {level_dropout}"
            )
        if level_dropout_steps < 0:
            raise ValueError(
                "`level_dropout_steps` must not be negative. "
                f"Received: {level_dropout_steps}"
            )
        self._config = {
            "strides": self.strides,
            "hidden_units": hidden_units,
            "residual_units": residual_units,
            "num_residual_layers": num_residual_layers,
            "num_codes": num_codes,
            "code_dim": code_dim,
            "channels": channels,
            "commitment_cost": commitment_cost,
            "ema_decay": ema_decay,
            "restart_after": restart_after,
            "level_dropout": level_dropout,
            "level_dropout_steps": level_dropout_steps,
            "seed": seed,
        }
        self.channels = channels
        self.num_codes = num_codes
        self.code_dim = code_dim
        self.hidden_units = hidden_units
        self.level_names = level_names(len(self.strides))
        self.level_dropout = level_dropout if len(self.strides) > 1 else 0.0
        self.level_dropout_steps = level_dropout_steps
        if self.level_dropout:
            self._dropout_draws = keras.random.SeedGenerator(seed)
        policy = self.dtype_policy
        widths = (hidden_units, residual_units, num_residual_layers)
        # From here on, lists run from the top level to the bottom one.
        coarse_first = self.strides[::-1]
        self.encoders = [
            Encoder(stride, *widths, dtype=policy) for stride in coarse_first
        ]
        self.level_decoders = [
            Decoder(stride, code_dim, *widths, dtype=policy)
            for stride in coarse_first[:-1]
        ]
        # Four times Glorot's deviation: the codes tell pictures apart sooner,
        # and short trainings end better (docs/results.md).
        self.projections = [
            keras.layers.Conv2D(
                code_dim,
                1,
                kernel_initializer=keras.initializers.VarianceScaling(
                    16.0, mode="fan_avg", distribution="uniform"
                ),
                dtype=policy,
            )
            for _ in coarse_first
        ]
        self.quantizers = [
            VectorQuantizer(
                num_codes,
                code_dim,
                commitment_cost,
                ema_decay,
                restart_after=restart_after,
                seed=None if seed is None else seed + i,
                dtype=policy,
                name=f"{name}_quantizer",
            )
            for i, name in enumerate(self.level_names)
        ]
        self.upsamplers = []
        stride = 1
        for finer_stride in self.strides[1:]:
            stride *= finer_stride
            self.upsamplers.insert(
                0, Upsampler(stride, code_dim, hidden_units, dtype=policy)
            )
        self.decoder = Decoder(self.strides[0], channels, *widths, dtype=policy)

    def build(self, images_shape=None):
        code_map = (None, None, None, self.code_dim)
        features = (None, None, None, self.hidden_units)
        both = (None, None, None, self.hidden_units + self.code_dim)
        for encoder in self.encoders[:-1]:
            encoder.build(features)
        self.encoders[-1].build((None, None, None, self.channels))
        for i, projection in enumerate(self.projections):
            projection.build(both if i else features)
        for layer in [*self.quantizers, *self.level_decoders, *self.upsamplers]:
            layer.build(code_map)
        self.decoder.build(
            (None, None, None, len(self.strides) * self.code_dim)
        )

        if self.level_dropout and self.level_dropout_steps:
            self._steps_taken = self.add_weight(
                name="steps_taken",
                shape=(),
                initializer="zeros",
                dtype="int32",
                trainable=False,
            )

    def _quantize(self, images, training):
        """Each level's quantizer output, coarsest first."""
        height, width = images.shape[1:3]
        if height and width:
            self.map_sizes((height, width))  # Raises if strides don't divide.
        features = [images]
        for encoder in self.encoders[::-1]:
            features.insert(0, encoder(features[0]))
        outputs = []
        for i, quantizer in enumerate(self.quantizers):
            z = features[i]
            if i:
                decoded = self.level_decoders[i - 1](outputs[-1]["embeddings"])
                z = ops.concatenate([z, decoded], axis=-1)
            outputs.append(quantizer(self.projections[i](z), training=training))
        return outputs

    def _decode(self, embeddings):
        maps = [
            upsampler(embedding)
            for upsampler, embedding in zip(
                self.upsamplers, embeddings[:-1], strict=True
            )
        ]
        decoded = self.decoder(
            ops.concatenate([*maps, embeddings[-1]], axis=-1)
        )
        return ops.cast(decoded, "float32")

    def _hide_levels(self, embeddings):
        """Embeddings with finer levels at their means, in some pictures."""
        levels = len(embeddings)
        batch_size = ops.shape(embeddings[0])[0]
        uniform = keras.random.uniform(
            (batch_size, 1, 1, 1), seed=DrawnSeed(self._dropout_draws)
        )
        rate = self.level_dropout
        if self.level_dropout_steps:
            left = 1.0 - self._steps_taken / self.level_dropout_steps
            # Above 0, as it divides; no uniform number but 0 is below it.
            rate = ops.maximum(rate * ops.cast(left, "float32"), 1e-9)
            self._steps_taken.assign(self._steps_taken + 1)
        # Levels shown: 1 to levels - 1 in the share `rate` of the pictures,
        # more than there are in the others.
        shown = 1.0 + ops.floor(uniform / rate * (levels - 1))
        hidden = []
        for i, (embedding, quantizer) in enumerate(
            zip(embeddings, self.quantizers, strict=True)
        ):
            mean = ops.stop_gradient(quantizer.mean_vector)
            mean = ops.cast(mean, embedding.dtype)
            hidden.append(ops.where(shown > i, embedding, mean))
        return hidden

    def call(self, images, training=False):
        outputs = self._quantize(images, training)
        embeddings = [output["embeddings"] for output in outputs]
        if training and self.level_dropout:
            embeddings = self._hide_levels(embeddings)
        return {
            "reconstruction": self._decode(embeddings),
            "codes": [output["codes"] for output in outputs],
            "commitment_loss": sum(
                output["commitment_loss"] for output in outputs
            ),
        }

    def encode(self, images):
        """Codes of pictures.

        Args:
            images: `[B, H, W, channels]` float32 in [-1, 1].

        Returns:
            List of `[B, h, w]` int32 in [0, K), coarsest first.
        """
        images = ops.cast(images, self.compute_dtype)
        return [o["codes"] for o in self._quantize(images, training=False)]

    def decode(self, codes):
        """Pictures of codes.

        A level of -1 is left out, as in figure 3 of the paper, which does not
        say how: its embeddings are their mean (`VectorQuantizer.embed`).

        Args:
            codes: List of `[B, h, w]` int32 in [0, K), coarsest first; -1
                where a code is not known.

        Returns:
            `[B, H, W, channels]` float32, not clipped.
        """
        return self._decode(
            [
                quantizer.embed(level)
                for quantizer, level in zip(self.quantizers, codes, strict=True)
            ]
        )

    def map_sizes(self, image_size):
        """Sizes of the code maps, coarsest first; see `latent_map_sizes`."""
        return latent_map_sizes(image_size, self.strides)

    def loss_and_statistics(self, batch, training=False):
        """Training loss of a batch, and sums that metrics are made of.

        Args:
            batch: dict with `image` `[B, H, W, channels]` float32 in [-1, 1]
                and optionally `weight` `[B]` float32, 0 for padding.
            training: Whether the codebooks are updated.

        Returns:
            Tuple of the loss (float32 scalar, the batch's mean: MSE on the
            [-1, 1] scale plus the commitment loss) and a dict of tensors that
            may be added over batches and replicas.
        """
        images = batch["image"]
        outputs = self(images, training=training)
        errors = ops.mean(
            (outputs["reconstruction"] - images) ** 2, axis=(1, 2, 3)
        )
        loss = ops.mean(errors) + outputs["commitment_loss"]
        weights = batch.get("weight")
        if weights is None:
            weights = ops.ones_like(errors)
        statistics = {
            "images": ops.sum(weights),
            # A difference of 2 on the [-1, 1] scale is 1 on the [0, 1] scale.
            "squared_error": ops.sum(weights * errors) / 4.0,
        }
        for name, codes in zip(self.level_names, outputs["codes"], strict=True):
            per_code = ops.broadcast_to(
                weights[:, None, None], ops.shape(codes)
            )
            statistics[f"{name}_code_counts"] = ops.segment_sum(
                ops.reshape(per_code, (-1,)),
                ops.reshape(codes, (-1,)),
                self.num_codes,
            )
        return loss, statistics

    def metrics_from_statistics(self, statistics):
        """Metrics of everything the statistics were added over.

        Args:
            statistics: Sums of `loss_and_statistics`, as NumPy arrays.

        Returns:
            dict of floats: `mse` and `psnr` (dB) on the [0, 1] pixel scale,
            and for each level `<level>_usage` in [0, 1] and
            `<level>_perplexity` in [1, K].
        """
        mse = float(statistics["squared_error"] / statistics["images"])
        metrics = {"mse": mse, "psnr": measures.psnr(mse)}
        for name in self.level_names:
            counts = statistics[f"{name}_code_counts"]
            metrics[f"{name}_usage"] = measures.codebook_usage(counts)
            metrics[f"{name}_perplexity"] = measures.codebook_perplexity(counts)
        return metrics

    def objectives(self):
        """Trained variables, by the name of the loss that trains them."""
        return {"loss": self.trainable_variables}

    def images_to_show(self, batch):
        """What is worth looking at while this model trains.

        Args:
            batch: As for `loss_and_statistics`.

        Returns:
            dict with `reconstructions`, `[B, 2 H, W, channels]` float32, not
            clipped: each picture above its reconstruction.
        """
        images = batch["image"]
        restored = self(images)["reconstruction"]
        return {"reconstructions": ops.concatenate([images, restored], axis=1)}

    def get_config(self):
        return {**super().get_config(), **self._config}

"""Stage 1: the hierarchical VQ-VAE."""

import keras
import numpy as np
from keras import ops

from vqvae2_tf import layers
from vqvae2_tf.autoencoders.base import IMAGES
from vqvae2_tf.autoencoders.base import Autoencoder
from vqvae2_tf.flags import Flag
from vqvae2_tf.layers.recomputation import DrawnSeed
from vqvae2_tf.level import hierarchical_levels

FLAGS = (
    Flag("strides", (4, 2), "Stride per level, finest first.", 2, many=True),
    Flag("hidden_units", 128, "Width of encoders and decoders.", 2),
    Flag("residual_units", 64, "Inner width of the residual stacks.", 1),
    Flag("residual_layers", 2, "Layers of each residual stack.", 0),
    Flag("num_codes", 512, "Number K of codes of each level.", 2, 65536),
    Flag("code_dim", 64, "Width D of a codeword.", 1),
    Flag("commitment_cost", 0.25, "Weight of the commitment loss.", 0.0),
    Flag("ema_decay", 0.99, "Decay of the codebooks' averages.", 0.0, 0.999999),
    Flag(
        "dead_code_restart_steps",
        0,
        "Training steps without use that redraw a code; 0 for never.",
        0,
    ),
    Flag(
        "level_dropout",
        0.0,
        "Share of images that are decoded from coarser levels alone.",
        0.0,
        0.99,
    ),
    Flag("level_dropout_steps", 0, "Steps of --level_dropout; 0 for all.", 0),
)


class VQVAE2(Autoencoder):
    """N-level hierarchical VQ-VAE (VQ-VAE-2, section 3.1, algorithm 1).

    Encoders are chained from fine to coarse. From coarse to fine, each level
    quantizes a 1x1 projection of its encoder's features and of the decoded
    codes of all coarser levels (the paper describes two levels). The image
    decoder reads every level's quantized map, upsampled to the bottom's
    resolution. One level is the plain VQ-VAE. Levels are listed coarsest first.

    Example:
        model = VQVAE2(strides=(4, 2), num_codes=256)
        codes = model.encode(images)  # [top, bottom] of [B, 64, 64, 3] images
        images = model.decode(codes)

    Args:
        strides: Factors from the pixels to the bottom map, from there to the
            next coarser one, and so on; powers of two, one a level.
        hidden_units: Width of encoders and decoders.
        residual_units: Inner width of the residual stacks.
        residual_layers: Layers of each residual stack.
        num_codes: K of every level's codebook.
        code_dim: D of every level's codebook.
        channels: Channels of the images.
        commitment_cost: Beta of equation 2.
        ema_decay: Gamma of the codebooks' moving averages.
        dead_code_restart_steps: See `VectorQuantizer`.
        level_dropout: Probability that, in training, an image is decoded from
            its coarser levels alone: from the top, or down to any level but
            the bottom, equally likely. The finer levels are at their means. 0
            (default, as in the paper) never does. Without it, and with dead
            codes restarted, trainings of under some 1,600 steps leave the image
            to the bottom level (docs/results.md).
        level_dropout_steps: Training steps in which the level dropout falls
            to 0, by the same amount each. 0 (default) keeps it.
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
            divide the images' size.
    """

    FLAGS = FLAGS

    def __init__(
        self,
        strides=(4, 2),
        hidden_units=128,
        residual_units=64,
        residual_layers=2,
        num_codes=512,
        code_dim=64,
        channels=3,
        commitment_cost=0.25,
        ema_decay=0.99,
        dead_code_restart_steps=0,
        level_dropout=0.0,
        level_dropout_steps=0,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.strides = tuple(strides)
        if not self.strides:
            raise ValueError("`strides` must hold one factor a level.")
        self.channels = channels
        self.num_codes = num_codes
        self.level_dropout = level_dropout if len(self.strides) > 1 else 0.0
        self.level_dropout_steps = level_dropout_steps
        if self.level_dropout:
            self._dropout_draws = keras.random.SeedGenerator(seed)
        policy = self.dtype_policy.name
        widths = (hidden_units, residual_units, residual_layers)
        # From here on, lists run from the top level to the bottom one.
        coarse_first = self.strides[::-1]
        self.encoders = [
            layers.Encoder(stride, *widths, dtype=policy)
            for stride in coarse_first
        ]
        self.level_decoders = [
            layers.Decoder(stride, code_dim, *widths, dtype=policy)
            for stride in coarse_first[:-1]
        ]
        self.projections = [
            layers.projection(code_dim, dtype=policy) for _ in coarse_first
        ]
        self.quantizers = [
            layers.VectorQuantizer(
                num_codes,
                code_dim,
                commitment_cost,
                ema_decay,
                dead_code_restart_steps=dead_code_restart_steps,
                seed=None if seed is None else seed + i,
                dtype=policy,
            )
            for i in range(len(self.strides))
        ]
        # To the bottom's resolution; made from fine to coarse.
        self.upsamplers = [
            layers.Upsampler(factor, code_dim, hidden_units, dtype=policy)
            for factor in np.cumprod(self.strides[1:], dtype=int).tolist()
        ][::-1]
        self.decoder = layers.Decoder(
            self.strides[0], channels, *widths, dtype=policy
        )
        if self.level_dropout and self.level_dropout_steps:
            self._steps_taken = self.add_weight(
                (), "zeros", "int32", trainable=False, name="steps_taken"
            )

    def levels(self, image_size):
        return hierarchical_levels(image_size, self.strides, self.num_codes)

    def _quantize(self, images, training):
        """Each level's quantizer output, coarsest first."""
        height, width = images.shape[1:3]
        if height and width:
            self.levels((height, width))  # Raises if strides don't divide.
        features = [images]
        for encoder in self.encoders[::-1]:
            features.insert(0, encoder(features[0]))
        outputs, coded = [], []
        for i, quantizer in enumerate(self.quantizers):
            z = features[i]
            if i:
                decoded = self.level_decoders[i - 1](
                    ops.concatenate(coded, axis=-1)
                )
                z = ops.concatenate([z, decoded], axis=-1)
                # To this level's resolution.
                stride = self.strides[-i]
                coded = [_repeat(maps, stride) for maps in coded]
            outputs.append(quantizer(self.projections[i](z), training=training))
            coded.append(outputs[-1]["embeddings"])
        return outputs

    def _decode(self, embeddings):
        maps = list(embeddings)
        for i, upsampler in enumerate(self.upsamplers):
            maps[i] = upsampler(maps[i])
        image = self.decoder(ops.concatenate(maps, axis=-1))
        return ops.cast(image, "float32")

    def _hide_levels(self, embeddings):
        """Embeddings with finer levels at their means, in some images."""
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
        # With probability `rate` an image keeps only its 1 to levels - 1
        # coarsest levels; otherwise it keeps all.
        shown = 1.0 + ops.floor(uniform / rate * (levels - 1))
        means = [ops.stop_gradient(q.mean_vector) for q in self.quantizers]
        return [
            ops.where(shown > i, x, ops.cast(means[i], x.dtype))
            for i, x in enumerate(embeddings)
        ]

    def call(self, images, training=False):
        outputs = self._quantize(images, training)
        embeddings = [output["embeddings"] for output in outputs]
        if training and self.level_dropout:
            embeddings = self._hide_levels(embeddings)
        return {
            "reconstruction": self._decode(embeddings),
            "codes": [output["codes"] for output in outputs],
            "commitment_loss": sum(o["commitment_loss"] for o in outputs),
        }

    def encode(self, images):
        IMAGES.check_all(images)
        images = ops.cast(images, self.compute_dtype)
        return [o["codes"] for o in self._quantize(images, training=False)]

    def decode(self, codes):
        """Images of code maps; see `Autoencoder`.

        A level of -1 is left out as in figure 3 of the paper, which does not
        describe how: its embeddings are their mean (`VectorQuantizer.embed`).
        """
        # Their names and codes do not depend on the images' size.
        self.check_codes(codes, self.levels((0, 0)))
        pairs = zip(self.quantizers, codes, strict=True)
        return self._decode([q.embed(level) for q, level in pairs])

    def codebooks(self):
        # The names depend on the number of levels alone.
        pairs = zip(self.levels((0, 0)), self.quantizers, strict=True)
        return {level.name: quantizer.codebook for level, quantizer in pairs}

    def parts(self):
        # The level decoders make codes, of coarser levels' codes.
        encoder = [*self.encoders, *self.level_decoders, *self.projections]
        return {
            "encoder": encoder,
            "codebook": self.quantizers,
            "decoder": [*self.upsamplers, self.decoder],
        }


def _repeat(maps, factor):
    """`[B, h, w, C]` with each position `factor` times along both axes."""
    return ops.repeat(ops.repeat(maps, factor, axis=1), factor, axis=2)


Model = VQVAE2

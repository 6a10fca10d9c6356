"""Stage 1: the multi-scale VQ-VAE with a decoder a scale."""

import numpy as np
from keras import ops

from vqvae2_tf import layers
from vqvae2_tf.autoencoders.base import IMAGES
from vqvae2_tf.autoencoders.base import Autoencoder
from vqvae2_tf.flags import Flag
from vqvae2_tf.layers.gaussian_blur import blur_deviation
from vqvae2_tf.layers.gaussian_blur import blur_kernel_size
from vqvae2_tf.layers.gaussian_blur import gaussian_blur
from vqvae2_tf.level import hierarchical_levels

FLAGS = (
    Flag("strides", (4, 2), "Stride per level, finest first.", 2, many=True),
    Flag("hidden_units", 128, "Width of the encoder.", 2),
    Flag("residual_units", 64, "Inner width of its residual stacks.", 1),
    Flag("residual_layers", 2, "Layers of each residual stack.", 0),
    Flag(
        "decoder_units",
        128.0,
        "Width of a decoder, over the root of its stride.",
        1.0,
    ),
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
)


class MSVQVAE(Autoencoder):
    """Multi-scale VQ-VAE with several decoders (Serez et al. 2023).

    One encoder gives a map a scale. From coarse to fine, each scale quantizes a
    1x1 projection of its map and of the previous decoder's map on the way
    (section 3.2). Each scale has a decoder of its own to the image's size, and
    their outputs, the contributions, are added up (equation 5). The sum up to
    scale m is trained towards an image that is blurred once for each finer
    scale (equations 6 to 8), so that coarse scales hold what is coarse. A scale
    is a level: `top`, ..., `bottom`.

    Example:
        model = MSVQVAE(strides=(4, 2), num_codes=256)
        codes = model.encode(images)  # [top, bottom] of [B, 64, 64, 3] images
        top, bottom = model.contributions(codes)  # top + bottom: the image

    Args:
        strides: Factors from the pixels to the bottom map, from there to the
            next coarser one, and so on; powers of two, one a level.
        hidden_units: Width of the encoder.
        residual_units: Inner width of the encoder's residual stacks.
        residual_layers: Layers of each residual stack.
        decoder_units: The decoder of a map that is s times smaller than the
            image begins with `decoder_units * sqrt(s)` channels, rounded to
            multiples of 8. The paper gives no widths; this rule comes nearest
            to its numbers of parameters (docs/results.md).
        num_codes: K of every level's codebook.
        code_dim: D of every level's codebook.
        channels: Channels of the images.
        commitment_cost: Beta of equation 6.
        ema_decay: Gamma of the codebooks' moving averages (equation 4).
        dead_code_restart_steps: See `VectorQuantizer`.
        seed: Seed of the codebooks' draws.

    Call arguments:
        images: `[B, H, W, channels]` float32 in [-1, 1]; the strides divide H
            and W.
        training: Only `True` updates the codebooks.

    Returns:
        dict with `reconstruction` (the images' shape, float32, not clipped),
        `contributions` (a list of the same shape, coarsest first, of which it
        is the sum), `codes` (list of `[B, h, w]` int32 in [0, K)),
        `commitment_loss` (float32 scalar, summed over levels).

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
        decoder_units=128.0,
        num_codes=512,
        code_dim=64,
        channels=3,
        commitment_cost=0.25,
        ema_decay=0.99,
        dead_code_restart_steps=0,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.strides = tuple(strides)
        if not self.strides:
            raise ValueError("`strides` must hold one factor a level.")
        self.channels = channels
        self.num_codes = num_codes
        policy = self.dtype_policy.name
        # From here on, lists run from the top level to the bottom one.
        coarse_first = self.strides[::-1]
        # From each level's map to the pixels.
        self.factors = np.cumprod(self.strides, dtype=int).tolist()[::-1]
        self.encoders = [
            layers.Encoder(
                stride,
                hidden_units,
                residual_units,
                residual_layers,
                dtype=policy,
            )
            for stride in coarse_first
        ]
        self.projections = [
            layers.Conv2D(code_dim, 1, dtype=policy) for _ in coarse_first
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
        self.decoders = [
            layers.ContributionDecoder(
                factor,
                next_stride,
                channels,
                8 * max(round(decoder_units * factor**0.5 / 8), 1),
                residual_layers,
                dtype=policy,
            )
            for factor, next_stride in zip(
                self.factors, (*coarse_first[:-1], 1), strict=True
            )
        ]

    def levels(self, image_size):
        return hierarchical_levels(image_size, self.strides, self.num_codes)

    def call(self, images, training=False):
        height, width = images.shape[1:3]
        if height and width:
            self.levels((height, width))  # Raises if strides don't divide.
        features = [images]
        for encoder in self.encoders[::-1]:
            features.insert(0, encoder(features[0]))
        outputs, contributions, told = [], [], []
        for i, quantizer in enumerate(self.quantizers):
            z = ops.concatenate([features[i], *told], axis=-1)
            outputs.append(quantizer(self.projections[i](z), training=training))
            on_the_way, image = self.decoders[i](outputs[i]["embeddings"])
            told = [on_the_way]
            contributions.append(ops.cast(image, "float32"))
        return {
            "reconstruction": sum(contributions),
            "contributions": contributions,
            "codes": [output["codes"] for output in outputs],
            "commitment_loss": sum(o["commitment_loss"] for o in outputs),
        }

    def reconstruction_loss(self, images, outputs):
        """The first sum of equation 6, with means in place of norms.

        `outputs` is what `call` returns; see `Autoencoder`.
        """
        targets = [images]
        size = blur_kernel_size(images.shape[1:3])
        for _ in self.strides[1:]:
            blurred = gaussian_blur(targets[0], size, blur_deviation(size))
            targets.insert(0, blurred)
        loss, restored = 0.0, 0.0
        for target, contribution in zip(
            targets, outputs["contributions"], strict=True
        ):
            restored = restored + contribution
            loss = loss + ops.mean((restored - target) ** 2)
        return loss

    def encode(self, images):
        IMAGES.check_all(images)
        return self(ops.cast(images, self.compute_dtype))["codes"]

    def decode(self, codes):
        """Images of code maps: the sum of the contributions.

        A position of -1 adds nothing to its pixels, so that a level of -1 is
        left out of the sum; see `Autoencoder`.
        """
        return sum(self.contributions(codes))

    def contributions(self, codes):
        """Each level's output in pixels (equation 5); see `Autoencoder`."""
        # Their names and codes do not depend on the images' size.
        self.check_codes(codes, self.levels((0, 0)))
        contributions = []
        for i, factor in enumerate(self.factors):
            maps = ops.convert_to_tensor(codes[i])
            _, image = self.decoders[i](self.quantizers[i].embed(maps))
            known = ops.repeat(maps >= 0, factor, axis=1)
            known = ops.repeat(known, factor, axis=2)[..., None]
            image = ops.where(known, ops.cast(image, "float32"), 0.0)
            contributions.append(image)
        return contributions

    def codebooks(self):
        # The names depend on the number of levels alone.
        pairs = zip(self.levels((0, 0)), self.quantizers, strict=True)
        return {level.name: quantizer.codebook for level, quantizer in pairs}

    def parts(self):
        """See `Autoencoder`; finer codes depend on coarser decoders too."""
        return {
            "encoder": [*self.encoders, *self.projections],
            "codebook": self.quantizers,
            "decoder": self.decoders,
        }


Model = MSVQVAE

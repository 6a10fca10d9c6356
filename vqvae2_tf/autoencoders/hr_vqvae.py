"""Stage 1: the hierarchical residual VQ-VAE."""

from keras import ops

from vqvae2_tf import layers
from vqvae2_tf.autoencoders.base import IMAGES
from vqvae2_tf.autoencoders.base import Autoencoder
from vqvae2_tf.flags import Flag
from vqvae2_tf.layers.upsampler import num_halvings
from vqvae2_tf.level import Level

FLAGS = (
    Flag("stride", 8, "Pixels, along each axis, of a position of the grid.", 2),
    Flag("hidden_units", 128, "Width of encoder and decoder.", 2),
    Flag("residual_units", 64, "Inner width of the residual stacks.", 1),
    Flag("residual_layers", 2, "Layers of each residual stack.", 0),
    Flag(
        "num_codes",
        (8, 8, 8),
        "Number m of codes of each layer's codebooks, one number a layer.",
        2,
        65536,
        many=True,
    ),
    Flag("code_dim", 32, "Width D of a codeword.", 1),
    Flag(
        "commitment_cost",
        (0.25,),
        "Weight of the commitment loss, one number or one a layer.",
        0.0,
        many=True,
    ),
    Flag("ema_decay", 0.99, "Decay of the codebooks' averages.", 0.0, 0.999999),
    Flag(
        "dead_code_restart_steps",
        0,
        "Training steps without use that redraw a code; 0 for never.",
        0,
    ),
)


class HRVQVAE(Autoencoder):
    """Hierarchical residual VQ-VAE (Adiban et al. 2022).

    One encoder to one grid; a `LinkedQuantizer`, each layer of which quantizes
    what the layers before left, in the codebook that their codes select; and a
    decoder of the sum of all layers' codewords. One layer is the plain VQ-VAE.
    Each layer is a level, all of one size: `layer_1`, `layer_2`, ...

    Example:
        model = HRVQVAE(stride=8, num_codes=(8, 8, 8))
        codes = model.encode(images)  # 3 maps 8x8 of [B, 64, 64, 3] images
        images = model.decode(codes)

    Args:
        stride: Factor from the pixels to the grid, a power of two.
        hidden_units: Width of encoder and decoder.
        residual_units: Inner width of the residual stacks.
        residual_layers: Layers of each residual stack.
        num_codes: m of each layer's codebooks, one number a layer: layer i has
            `num_codes[0] * ... * num_codes[i]` codewords.
        code_dim: D of every codebook.
        channels: Channels of the images.
        commitment_cost: Beta, one number or one a layer. The paper's further
            global term is a larger number for the last: see `LinkedQuantizer`.
        ema_decay: Gamma of the codebooks' moving averages.
        dead_code_restart_steps: See `LinkedQuantizer`.
        seed: Seed of the codebooks' draws.

    Call arguments:
        images: `[B, H, W, channels]` float32 in [-1, 1]; the stride divides H
            and W.
        training: Only `True` updates the codebooks.

    Returns:
        dict with `reconstruction` (the images' shape, float32, not clipped),
        `codes` (list of `[B, h, w]` int32 in [0, m), one a layer),
        `commitment_loss` (float32 scalar, summed over layers).

    Raises:
        ValueError: If an argument is out of range or the stride does not
            divide the images' size.
    """

    FLAGS = FLAGS
    quantizer_class = layers.LinkedQuantizer

    def __init__(
        self,
        stride=8,
        hidden_units=128,
        residual_units=64,
        residual_layers=2,
        num_codes=(8, 8, 8),
        code_dim=32,
        channels=3,
        commitment_cost=(0.25,),
        ema_decay=0.99,
        dead_code_restart_steps=0,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        num_halvings(stride, "stride")  # Raises if it is no power of two.
        self.stride = stride
        self.channels = channels
        policy = self.dtype_policy.name
        widths = (hidden_units, residual_units, residual_layers)
        self.encoder = layers.Encoder(stride, *widths, dtype=policy)
        self.projection = layers.projection(code_dim, dtype=policy)
        self.quantizer = self.quantizer_class(
            num_codes,
            code_dim,
            commitment_cost,
            ema_decay,
            dead_code_restart_steps=dead_code_restart_steps,
            seed=seed,
            dtype=policy,
        )
        self.decoder = layers.Decoder(stride, channels, *widths, dtype=policy)

    def levels(self, image_size):
        height, width = image_size
        if height % self.stride or width % self.stride:
            raise ValueError(
                f"`stride` {self.stride} must divide the image's size. "
                f"Received: {height}x{width} pixels"
            )
        return [
            Level(
                f"layer_{i + 1}", height // self.stride, width // self.stride, m
            )
            for i, m in enumerate(self.quantizer.num_codes)
        ]

    def _quantize(self, images, training):
        height, width = images.shape[1:3]
        if height and width:
            self.levels((height, width))  # Raises if the stride doesn't divide.
        z = self.projection(self.encoder(images))
        return self.quantizer(z, training=training)

    def _decode(self, embeddings):
        return ops.cast(self.decoder(embeddings), "float32")

    def call(self, images, training=False):
        outputs = self._quantize(images, training)
        return {
            "reconstruction": self._decode(outputs["embeddings"]),
            "codes": outputs["codes"],
            "commitment_loss": outputs["commitment_loss"],
        }

    def encode(self, images):
        IMAGES.check_all(images)
        images = ops.cast(images, self.compute_dtype)
        return self._quantize(images, training=False)["codes"]

    def decode(self, codes):
        """Images of code maps; see `Autoencoder`.

        Where a layer is -1, it and the finer layers are left out, so that maps
        of -1 from layer i + 1 on give the image of the first i layers: a finer
        layer's codewords are differences that depend on the layers above. Where
        layer 1 is -1, the vector is the mean of all.
        """
        self.check_codes(codes, self.levels((0, 0)))
        return self._decode(self.quantizer.embed(codes))

    def counted_codes(self, codes, levels):
        """The layers' codes and, below layer 1, their global codes.

        `layer_<i>_global` counts the codewords of all of the layer's codebooks.
        """
        counted = super().counted_codes(codes, levels)
        paths = self.quantizer.global_codes(codes)
        for i, path in enumerate(paths[1:], start=1):
            num_codewords = self.quantizer.layers[i].num_codes
            counted[f"layer_{i + 1}_global"] = (path, num_codewords)
        return counted

    def codebooks(self):
        """Layer 1's codewords, `[m, D]`.

        The finer layers are not in it: their codes mean nothing without those
        above. `quantizer.codebook(i)` has all their codewords.
        """
        return {"layer_1": self.quantizer.codebook(0)}

    def parts(self):
        return {
            "encoder": [self.encoder, self.projection],
            "codebook": [self.quantizer],
            "decoder": [self.decoder],
        }


Model = HRVQVAE

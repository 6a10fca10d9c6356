"""A flat residual autoencoder, for `compare_autoencoders.py` alone.

    vqvae2 train --autoencoder=experiments.flat_residual ...

Like HR-VQVAE, but each layer has one codebook of m codewords, whatever the
codes before: residual quantization without links.
"""

import keras
from keras import ops

from vqvae2_tf import layers
from vqvae2_tf.autoencoders.hr_vqvae import HRVQVAE


@keras.saving.register_keras_serializable("vqvae2_tf")
class FlatQuantizer(keras.layers.Layer):
    """Vector quantizers, each of what those before left.

    Call arguments and results are those of `LinkedQuantizer`, and so are the
    arguments, but for one commitment cost, in a tuple.
    """

    def __init__(
        self,
        num_codes,
        code_dim,
        commitment_cost=(0.25,),
        ema_decay=0.99,
        dead_code_restart_steps=0,
        seed=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.num_codes = tuple(num_codes)
        (cost,) = commitment_cost
        self.layers = [
            layers.VectorQuantizer(
                count,
                code_dim,
                cost,
                ema_decay,
                dead_code_restart_steps=dead_code_restart_steps,
                seed=None if seed is None else seed + i,
                dtype="float32",
            )
            for i, count in enumerate(self.num_codes)
        ]

    def build(self, z_shape):
        for layer in self.layers:
            layer.build(z_shape)

    def codebook(self, index):
        return self.layers[index].codebook

    def embed(self, codes):
        pairs = zip(self.layers, codes, strict=True)
        embeddings = sum(layer.embed(maps) for layer, maps in pairs)
        return ops.cast(embeddings, self.compute_dtype)

    def call(self, z, training=False):
        residual = z = ops.cast(z, "float32")
        codes, loss = [], 0.0
        for layer in self.layers:
            outputs = layer(residual, training=training)
            codes.append(outputs["codes"])
            loss += outputs["commitment_loss"]
            # Without the straight-through gradient.
            residual = residual - ops.stop_gradient(outputs["embeddings"])
        embeddings = z - ops.stop_gradient(residual)
        return {
            "embeddings": ops.cast(embeddings, self.compute_dtype),
            "codes": codes,
            "commitment_loss": loss,
        }


class FlatResidual(HRVQVAE):
    """HR-VQVAE's networks around a `FlatQuantizer`; see `HRVQVAE`."""

    quantizer_class = FlatQuantizer

    def counted_codes(self, codes, levels):
        # Codes of a layer mean the same whatever the codes before.
        return super(HRVQVAE, self).counted_codes(codes, levels)


Model = FlatResidual

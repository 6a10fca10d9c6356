"""An autoencoder that the package does not know: three levels of other K."""

import keras
from keras import ops

from vqvae2_tf.autoencoders.base import Autoencoder
from vqvae2_tf.flags import Flag
from vqvae2_tf.level import Level


class ToyAutoencoder(Autoencoder):
    """Mean colours of patches, each replaced by one of K learned colours.

    Two levels have the same map size, and each has a K of its own.
    """

    FLAGS = (
        Flag("toy_patch", 4, "Pixels of a coarse patch.", minimum=2),
        Flag("toy_codes", (5, 3, 4), "K of each level.", 2, many=True),
    )

    def __init__(
        self, toy_patch=4, toy_codes=(5, 3, 4), channels=3, seed=None, **kwargs
    ):
        super().__init__(**kwargs)
        if len(toy_codes) != 3:
            raise ValueError(
                f"`toy_codes` must hold three numbers. Received: {toy_codes}"
            )
        self.patches = (toy_patch, toy_patch // 2, toy_patch // 2)
        self.num_codes = tuple(toy_codes)
        self.channels = channels
        self.selectors = [
            keras.layers.Dense(
                count, name=f"selector_{i}", dtype=self.dtype_policy
            )
            for i, count in enumerate(toy_codes)
        ]
        self.colours = [
            keras.layers.Dense(
                channels,
                use_bias=False,
                name=f"colours_{i}",
                dtype=self.dtype_policy,
            )
            for i in range(3)
        ]

    def levels(self, image_size):
        if image_size[0] % self.patches[0] or image_size[1] % self.patches[0]:
            raise ValueError(
                "`toy_patch` must divide the image's size. Received: "
                f"{self.patches[0]} for {image_size}"
            )
        sizes = [(image_size[0] // p, image_size[1] // p) for p in self.patches]
        names = ("sketch", "first", "second")
        return [
            Level(name, *size, count)
            for name, size, count in zip(
                names, sizes, self.num_codes, strict=True
            )
        ]

    def _logits(self, images):
        return [
            selector(ops.average_pool(images, patch, patch))
            for selector, patch in zip(
                self.selectors, self.patches, strict=True
            )
        ]

    def _decode(self, chosen):
        """Images of one-hot codes."""
        image = 0.0
        for colours, one_hot, patch in zip(
            self.colours, chosen, self.patches, strict=True
        ):
            x = colours(one_hot)
            image += ops.repeat(ops.repeat(x, patch, axis=1), patch, axis=2)
        return ops.cast(image, "float32")

    def call(self, images, training=False):
        logits = self._logits(images)
        codes = [ops.cast(ops.argmax(x, axis=-1), "int32") for x in logits]
        chosen = []
        for x, indices in zip(logits, codes, strict=True):
            soft = ops.softmax(x)
            hard = ops.one_hot(indices, x.shape[-1], dtype=soft.dtype)
            chosen.append(hard + soft - ops.stop_gradient(soft))
        return {
            "reconstruction": self._decode(chosen),
            "codes": codes,
            "commitment_loss": ops.zeros(()),
        }

    def encode(self, images):
        logits = self._logits(images)
        return [ops.cast(ops.argmax(x, axis=-1), "int32") for x in logits]

    def decode(self, codes):
        self.check_codes(codes, self.levels((0, 0)))
        # An unknown code, -1, has no one-hot vector and adds nothing.
        return self._decode(
            [
                ops.one_hot(indices, count)
                for indices, count in zip(codes, self.num_codes, strict=True)
            ]
        )


Model = ToyAutoencoder

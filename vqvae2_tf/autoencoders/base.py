"""What every autoencoder has: its levels, its loss and its metrics."""

import itertools

import keras
from keras import ops

from vqvae2_tf.evaluation import measures
from vqvae2_tf.flags import Flag
from vqvae2_tf.trainable import Trainable

IMAGES = Flag("images", 0.0, "Pixels.", -1.0, 1.0)


class Autoencoder(Trainable):
    """Base of stage 1: images to code maps and back.

    A subclass has `levels`, `encode`, `decode` and `call`, which returns a dict
    with `reconstruction` (the images' shape, float32, not clipped), `codes` (a
    list as `encode` gives it) and `commitment_loss` (float32 scalar). Its
    constructor takes `channels`, `seed`, Keras' own arguments such as `dtype`,
    and one argument a flag of `FLAGS`.

    Attributes:
        needs_images: Whether it is trained on images and encodes them; without,
            priors are trained on codes that exist (`--codes_dir`).
        saved_decoder: Path of a SavedModel that decodes in place of `decode`
            where a generator is exported, or None.
    """

    selection_metric = "mse"
    needs_images = True
    saved_decoder = None

    def levels(self, image_size):
        """The code maps of an image, coarsest first.

        Args:
            image_size: `(height, width)` in pixels.

        Returns:
            List of `Level`.

        Raises:
            ValueError: If images cannot be of this size.
        """
        raise NotImplementedError

    def encode(self, images):
        """Code maps of images.

        Args:
            images: `[B, H, W, channels]` float32 in [-1, 1].

        Returns:
            List of `[B, *level.shape]`, `level.dtype`, coarsest first.

        Raises:
            ValueError: If pixels are out of range or NaN, or B is 0; not while
                the call is traced (`tf.function`, `jax.jit`).
        """
        raise NotImplementedError

    def decode(self, codes):
        """Images of code maps.

        Args:
            codes: List as `encode` gives it. A position that holds
                `level.unknown` is left out.

        Returns:
            `[B, H, W, channels]` float32, not clipped.

        Raises:
            ValueError: If a level is missing; and, unless the call is traced,
                if codes are out of range or B is 0.
        """
        raise NotImplementedError

    def contributions(self, codes):
        """Each level's share of the images.

        The share of a level is what it adds to the images of the coarser
        levels alone (see `decode`); of the coarsest one it is its image.

        Args:
            codes: As in `decode`.

        Returns:
            List of `[B, H, W, channels]` float32, coarsest first, not clipped;
            their sum is what `decode` gives, up to rounding.
        """
        hidden = [
            ops.full_like(ops.convert_to_tensor(maps), level.unknown)
            for maps, level in zip(codes, self.levels((0, 0)), strict=True)
        ]
        sums = [
            self.decode([*codes[:count], *hidden[count:]])
            for count in range(1, len(codes) + 1)
        ]
        pairs = itertools.pairwise(sums)
        return [sums[0], *(finer - coarser for coarser, finer in pairs)]

    def check_codes(self, codes, levels):
        """Raises `ValueError` unless each level has a map of its codes.

        Args:
            codes: As in `decode`. The codes of a traced call pass.
            levels: List of `Level`, of any size.
        """
        if len(codes) != len(levels):
            names = ", ".join(level.name for level in levels)
            raise ValueError(
                f"`codes`: expected a map for each of {names}. Received: "
                f"{len(codes)}"
            )
        for level, maps in zip(levels, codes, strict=True):
            if level.num_codes:
                level.codes().check_all(maps)

    def codebooks(self):
        """Codewords by the level's name, `[K, D]` float32.

        Levels whose codes mean nothing by themselves are not in it.
        """
        return {}

    def parts(self):
        """The parts that `freeze` takes.

        The package's own autoencoders have three, with all their layers:
        `codebook`; `encoder`, what else makes codes of images; and `decoder`,
        what else makes images of codes.

        Returns:
            dict of a part's name to the list of its layers.
        """
        return {}

    def freeze(self, names):
        """Keeps parts as they are in training.

        That is their weights, codebooks and batch statistics.

        Args:
            names: Names of `parts`. Call it after the build: it does not reach
                weights that are made later.

        Raises:
            ValueError: If there is no such part, or no weight is left to train.
        """
        parts = self.parts()
        for name in names:
            if name not in parts:
                raise ValueError(
                    f"`freeze`: expected parts of {type(self).__name__} "
                    f"({', '.join(parts) or 'it names none'}). Received: {name}"
                )
            for layer in parts[name]:
                layer.trainable = False
        if names and self.built and not self.trainable_variables:
            raise ValueError(
                "`freeze`: expected parts that leave weights to train. "
                f"Received: {', '.join(names)}"
            )

    def counted_codes(self, codes, levels):
        """The codes whose usage and perplexity are measured.

        Args:
            codes: List of `[B, *level.shape]`, coarsest first.
            levels: Their `Level`s.

        Returns:
            dict of a name to a pair: codes `[B, H, W]` int32 in [0, K), and K.
            Here, each level of codes by its name; a subclass may add others
            that are made of several levels'.
        """
        return {
            level.name: (maps, level.num_codes)
            for level, maps in zip(levels, codes, strict=True)
            if level.num_codes
        }

    def build(self, images_shape):
        # A symbolic call creates the weights of all layers.
        spec = self.compute_output_spec(keras.KerasTensor(images_shape))
        if None not in images_shape[1:3]:
            shapes = [tuple(codes.shape[1:]) for codes in spec["codes"]]
            expected = [x.shape for x in self.levels(images_shape[1:3])]
            if shapes != expected:
                raise ValueError(
                    f"`levels` gives maps {expected}, but `call` {shapes}."
                )

    def reconstruction_loss(self, images, outputs):
        """What is added to the commitment loss: the MSE on the [-1, 1] scale.

        Args:
            images: `[B, H, W, channels]` float32 in [-1, 1].
            outputs: What `call` returns for them.

        Returns:
            float32 scalar, the batch's mean.
        """
        return ops.mean(_squared_errors(outputs["reconstruction"], images))

    def loss_and_statistics(self, batch, training=False):
        """See `Trainable`; the batch has `image` and optionally `weight`.

        The loss is the reconstruction loss plus the commitment loss.
        """
        images = batch["image"]
        outputs = self(images, training=training)
        restored = outputs["reconstruction"]
        # What a user gets, who sees no pixel outside the range.
        clipped = ops.clip(restored, -1.0, 1.0)
        errors, clipped_errors = (
            _squared_errors(x, images) for x in (restored, clipped)
        )
        loss = self.reconstruction_loss(images, outputs)
        loss = loss + outputs["commitment_loss"]
        weights = batch.get("weight", ops.ones_like(errors))
        statistics = {
            "images": ops.sum(weights),
            # A difference of 2 on the [-1, 1] scale is 1 on the [0, 1] scale.
            "squared_error": ops.sum(weights * clipped_errors) / 4.0,
            "unclipped_squared_error": ops.sum(weights * errors) / 4.0,
        }
        levels = self.levels(images.shape[1:3])
        counted = self.counted_codes(outputs["codes"], levels)
        for name, (codes, num_codes) in counted.items():
            own = ops.broadcast_to(weights[:, None, None], ops.shape(codes))
            statistics[f"{name}_code_counts"] = ops.segment_sum(
                ops.ravel(own), ops.ravel(codes), num_codes
            )
        return loss, statistics

    def metrics_from_statistics(self, statistics):
        """See `Trainable`.

        Returns:
            dict of floats: `mse` and `psnr` (dB) of reconstructions clipped to
            the pixels' range, on the [0, 1] scale; `unclipped_mse`; and for
            each level of codes, and what else `counted_codes` names,
            `<name>_usage` in [0, 1] and `<name>_perplexity` in [1, K].
        """
        count = statistics["images"]
        mse = float(statistics["squared_error"] / count)
        metrics = {
            "mse": mse,
            "psnr": measures.psnr(mse),
            "unclipped_mse": float(
                statistics["unclipped_squared_error"] / count
            ),
        }
        for key, counts in statistics.items():
            if key.endswith("_code_counts"):
                name = key.removesuffix("code_counts")
                metrics[f"{name}usage"] = measures.codebook_usage(counts)
                perplexity = measures.codebook_perplexity(counts)
                metrics[f"{name}perplexity"] = perplexity
        return metrics

    def images_to_show(self, batch):
        """Each image above its reconstruction, `[B, 2 H, W, channels]`."""
        images = batch["image"]
        restored = self(images)["reconstruction"]
        return {"reconstructions": ops.concatenate([images, restored], axis=1)}


def _squared_errors(restored, images):
    """Each image's mean squared error, `[B]`."""
    return ops.mean((restored - images) ** 2, axis=(1, 2, 3))

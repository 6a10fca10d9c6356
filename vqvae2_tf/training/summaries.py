"""Training curves and images for TensorBoard."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from vqvae2_tf.files import atomic


class TensorBoard:
    """Writes event files, which TensorBoard shows, on the chief.

    Args:
        folder: Folder of the event files.
    """

    def __init__(self, folder: str):
        self._writer = (
            tf.summary.create_file_writer(folder)
            if atomic.is_chief
            else tf.summary.create_noop_writer()
        )

    def scalars(
        self, group: str, values: Mapping[str, float], step: int
    ) -> None:
        """Writes numbers of one step.

        Args:
            group: First part of the tags, as in "train/loss".
            values: Numbers by the second part of their tags.
            step: Training steps taken.
        """
        with self._writer.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(f"{group}/{name}", value)
        self._writer.flush()

    def images(self, group: str, values: Mapping, step: int) -> None:
        """Writes images of one step.

        Args:
            group: First part of the tags.
            values: `[N, H, W, C]` tensors in [-1, 1], clipped where they are
                not, by the second part of their tags.
            step: Training steps taken.
        """
        with self._writer.as_default(step):
            for name, images in values.items():
                images = (keras.ops.convert_to_numpy(images) + 1.0) / 2.0
                tf.summary.image(
                    f"{group}/{name}",
                    np.clip(images, 0.0, 1.0),
                    max_outputs=len(images),
                )
        self._writer.flush()

"""ImageNet's archives, which TFDS's imagenet2012 wants to be given."""

import os

import tensorflow as tf

from vqvae2_tf.errors import UserError

ARCHIVES = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")


def check_archives(manual_dir: str) -> None:
    """Checks that both archives are there: TFDS goes on with either of them.

    Args:
        manual_dir: Path of TFDS's manual directory; local or in a cloud.

    Raises:
        UserError: Naming the archives that are missing.
    """
    missing = [
        name
        for name in ARCHIVES
        if not tf.io.gfile.exists(os.path.join(manual_dir, name))
    ]
    if missing:
        raise UserError(
            f"--dataset=imagenet2012: {manual_dir} lacks "
            f"{' and '.join(missing)}; get them from "
            "https://image-net.org/download-images, or name the folder of the "
            "prepared data set with --data_dir."
        )

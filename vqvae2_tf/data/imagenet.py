"""ImageNet's archives, which users of TFDS's imagenet2012 must provide."""

import os

import tensorflow as tf

from vqvae2_tf.errors import UserError

ARCHIVES = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")


def check_archives(manual_dir: str) -> None:
    """Checks that both archives exist: TFDS also continues with one of them.

    Args:
        manual_dir: Path of TFDS's manual directory; local or in a cloud.

    Raises:
        UserError: If archives are missing; names them.
    """
    paths = {name: os.path.join(manual_dir, name) for name in ARCHIVES}
    missing = [n for n, path in paths.items() if not tf.io.gfile.exists(path)]
    if missing:
        raise UserError(
            f"--dataset=imagenet2012: {manual_dir} lacks "
            f"{' and '.join(missing)}; get them from "
            "https://image-net.org/download-images, or name the folder of the "
            "prepared data set with --data_dir."
        )

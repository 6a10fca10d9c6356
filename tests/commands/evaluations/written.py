"""Folders of features that the tests of `vqvae2 evaluate` look at."""

import numpy as np

from vqvae2_tf.evaluation import features

CARD = {
    "network": "lite0",
    "weights": "0a" * 32,
    "resize": "bicubic_224",
    "layer": "pool",
    "version": "0.1.0",
}


def rows(seed, count, shift=0.0):
    """`[count, 5]` float32 features."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, 5)) + shift).astype("float32")


def write(folder, arrays, **card):
    """Writes a folder of features. Returns the value of its flag."""
    card = {**CARD, "input": f"folder:{folder.name}", **card}
    count = len(arrays["features"])
    writer = features.Writer(str(folder), card, count, tuple(arrays), 64)
    for shard, part in writer.missing():
        writer.write(shard, **{n: a[part] for n, a in arrays.items()})
    return f"features:{folder}"

"""How often each code of a folder is used; test_codebook has the figures."""

import numpy as np

from vqvae2_tf.codes import records
from vqvae2_tf.codes.usage import usage
from vqvae2_tf.files.atomic import write_json
from vqvae2_tf.level import Level


def test_levels_of_vectors_have_no_usage(tmp_path):
    levels = [
        Level("top", 1, 2, 3),
        Level("middle", 1, 2, None, channels=1),
        Level("bottom", 1, 2, 5),
    ]
    folder = str(tmp_path)
    card = {
        "levels": [level.to_json() for level in levels],
        "class_names": [],
        "fingerprint": "",
        "examples_per_shard": 9,
        "splits": {"train": 1},
    }
    write_json(f"{folder}/{records.CARD}", card)
    (path,) = records.shard_paths(folder, "train", card)
    maps = [np.array([[2, 2]]), np.zeros((1, 2, 1)), np.array([[4, 0]])]
    records.write_shard(path, levels, [(maps, 0, b"")])
    found = usage(folder)["train"]
    assert found.keys() == {"top", "bottom"}
    assert found["top"]["counts"] == [0, 0, 2]
    assert found["bottom"]["counts"] == [1, 0, 0, 0, 1]
    assert (found["bottom"]["codes"], found["bottom"]["used"]) == (5, 2)

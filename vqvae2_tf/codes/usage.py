"""How much each code of a folder of codes is used."""

import numpy as np

from vqvae2_tf.codes import records
from vqvae2_tf.evaluation import measures
from vqvae2_tf.level import Level


def usage(folder: str) -> dict[str, dict[str, dict]]:
    """Usage and perplexity of a folder's codes.

    Args:
        folder: Folder of shards and their card.

    Returns:
        `{"<split>": {"<level>": {...}}}` for levels of codes: `codes` (K),
        `used`, `usage` in [0, 1], `perplexity` in [1, K], and `counts`, the
        times each code was used.
    """
    card = records.read_card(folder)
    return {
        split: _split_usage(folder, card, split) for split in card["splits"]
    }


def _split_usage(folder, card, split):
    levels = [Level.of(level) for level in card["levels"]]
    counts = {
        level.name: np.zeros(level.num_codes, "int64")
        for level in levels
        if level.num_codes
    }
    examples = records.code_examples(folder, card, split)
    for batch in examples.open().map(examples.read).batch(256):
        for level, codes in zip(levels, batch["codes"], strict=True):
            if level.num_codes:
                codes = codes.numpy().ravel()
                counts[level.name] += np.bincount(codes, None, level.num_codes)
    return {
        name: {
            "codes": len(uses),
            "used": int(np.sum(uses > 0)),
            "usage": measures.codebook_usage(uses),
            "perplexity": measures.codebook_perplexity(uses),
            "counts": uses.tolist(),
        }
        for name, uses in counts.items()
    }

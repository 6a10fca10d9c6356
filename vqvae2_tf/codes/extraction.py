"""Code maps of a data set, made by an autoencoder, as sharded TFRecords."""

import contextlib
import functools
import hashlib
import itertools
import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vqvae2_tf.autoencoders.base import Autoencoder
from vqvae2_tf.codes import records
from vqvae2_tf.data.batches import Examples
from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.batches import with_ids
from vqvae2_tf.files import atomic
from vqvae2_tf.files import provenance
from vqvae2_tf.files.lock import lock
from vqvae2_tf.level import Level

EXAMPLES_PER_SHARD = 4096
# Of images in several shards, which earlier versions mixed.
ORDER = "shards in turn"
# Images on one device at once, small enough for 1024x1024.
_DEVICE_BATCH = 16


def extract_codes(
    autoencoder: Autoencoder,
    splits: dict[str, tuple[Examples, int]],
    folder: str,
    levels: Sequence[Level],
    card_fields: dict,
    devices,
    seed: int,
) -> dict:
    """Encodes images (VQ-VAE-2, algorithm 2, lines 1 to 7).

    Existing shards are kept, so that an extraction that was stopped resumes
    with the missing ones. Memory does not grow with the number of images.

    Args:
        autoencoder: Built or loaded in `devices.local.scope()`.
        splits: For each split its `image_examples` and the number of passes
            over them. Images are augmented from the second pass on.
        folder: Folder of the shards and their card.
        levels: The codes' levels, coarsest first.
        card_fields: Further entries of the card: `class_names`, and what
            identifies the images and their augmentation.
        devices: `training.devices.Devices`; each host encodes a part of the
            shards.
        seed: Seed of the augmentation.

    Returns:
        The card; see `records.read_card`.

    Raises:
        UserError: If the folder holds codes of another autoencoder or of other
            images, or another process extracts codes into it.
    """
    with contextlib.ExitStack() as stack:
        if atomic.is_chief:
            stack.enter_context(lock(folder))
        card = _claim(autoencoder, splits, folder, levels, card_fields)
        devices.barrier()
        _write_shards(autoencoder, splits, folder, levels, card, devices, seed)
        # Others may still write theirs.
        devices.barrier()
    return card


def _claim(autoencoder, splits, folder, levels, card_fields):
    """The codes' card, which the chief writes or finds to be the same."""
    card = {
        **card_fields,
        "levels": [level.to_json() for level in levels],
        "fingerprint": fingerprint(autoencoder),
        "examples_per_shard": EXAMPLES_PER_SHARD,
        "splits": {
            split: passes * examples.count
            for split, (examples, passes) in splits.items()
        },
    }
    paths = {name: records.shard_paths(folder, name, card) for name in splits}
    shards = list(itertools.chain(*paths.values()))
    card |= _order(folder, shards, splits)
    # First, since shards belong to one autoencoder.
    if atomic.is_chief:
        advice = "remove that folder, or give another one"
        provenance.claim(folder, records.CARD, card, shards, advice)
    return card


def _write_shards(autoencoder, splits, folder, levels, card, devices, seed):
    """Writes this host's shards that are not there yet."""
    paths = {name: records.shard_paths(folder, name, card) for name in splits}
    encode = devices.local.encoding(autoencoder)
    batch_size = _DEVICE_BATCH * devices.local.count
    host, hosts = devices.share
    for split, (examples, passes) in splits.items():
        first, end = (
            len(paths[split]) * number // hosts for number in (host, host + 1)
        )
        own = paths[split][first:end]
        start = first * EXAMPLES_PER_SHARD
        total = min(end * EXAMPLES_PER_SHARD, card["splits"][split])
        # Neighbours at once, which opens the images once for all of them.
        for done, run in itertools.groupby(own, tf.io.gfile.exists):
            neighbours = list(run)
            if not done:
                encoded = _encoded(
                    encode, with_ids(examples), passes, start, batch_size, seed
                )
                title = f"codes ({split})"
                encoded = tqdm(
                    encoded,
                    title,
                    total,
                    initial=start,
                    disable=not atomic.is_chief,
                )
                encoded = iter(encoded)
                for path in neighbours:
                    shard = itertools.islice(encoded, EXAMPLES_PER_SHARD)
                    records.write_shard(path, levels, shard)
            start += len(neighbours) * EXAMPLES_PER_SHARD


def _order(folder, shards, splits):
    """The card's entry on the order of the images, where it matters.

    An extraction is not resumed in another order, or images would be missing.
    """
    path = os.path.join(folder, records.CARD)
    if all(map(tf.io.gfile.exists, [path, *shards])):
        # Finished codes are as good in any order.
        card = records.read_card(folder)
        return {key: card[key] for key in card.keys() & {"order"}}
    examples = (examples for examples, _ in splits.values())
    several = any(len(x.shard_lengths) > 1 for x in examples)
    return {"order": ORDER} if several else {}


def _encoded(encode, examples, passes, start, batch_size, seed):
    """Codes, label and id of each example from `start` on, over all passes."""
    first_pass, first = divmod(start, examples.count)
    for number in range(first_pass, passes):
        batches = functools.partial(
            evaluation_batches,
            examples,
            batch_size,
            start=first if number == first_pass else 0,
            # A different one for each pass.
            augmentation_seed=seed + number if number else None,
        )
        for codes, batch in encode(batches):
            labels, ids = batch["label"], batch["id"]
            for i in np.flatnonzero(batch["weight"]):
                yield [level[i] for level in codes], labels[i], ids[i]


def fingerprint(model: keras.Model) -> str:
    """16 hex digits that identify a set of weights."""
    digest = hashlib.sha256()
    for variable in model.weights:
        # A shape's own text is another one on each backend.
        described = repr((variable.dtype, tuple(variable.shape)))
        digest.update(described.encode())
        digest.update(keras.ops.convert_to_numpy(variable).tobytes())
    return digest.hexdigest()[:16]

"""Code maps of a data set, made by an autoencoder, as sharded TFRecords."""

import hashlib
import itertools
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.codes import records as code_records
from vqvae2_tf.data.batches import Examples
from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.batches import with_ids
from vqvae2_tf.files import provenance as cards

EXAMPLES_PER_SHARD = 4096
# Pictures on one device at once, small enough for 1024x1024.
_DEVICE_BATCH = 16


def extract_codes(
    autoencoder: VQVAE2,
    splits: dict[str, tuple[Examples, int]],
    folder: str,
    about: dict,
    strategy: tf.distribute.Strategy,
    seed: int,
) -> dict:
    """Encodes pictures (VQ-VAE-2, algorithm 2, lines 1 to 7).

    Shards that are there are not made again, so that an extraction that was
    stopped goes on with those that are missing. Memory does not grow with the
    number of pictures.

    Args:
        autoencoder: Built or loaded in `strategy.scope()`.
        splits: For each split its `image_examples` and the number of passes
            over them. Pictures are augmented from the second pass on.
        folder: For the shards, and their card.
        about: What else the card says of the codes: `map_sizes`, `num_codes`,
            `class_names`, and what tells these pictures from others.
        strategy: `tf.distribute.Strategy`.
        seed: Of the augmentation.

    Returns:
        The card; see `code_records.read_card`.

    Raises:
        UserError: If the folder holds codes of another autoencoder or of other
            pictures.
    """
    card = {
        **about,
        "fingerprint": fingerprint(autoencoder),
        "examples_per_shard": EXAMPLES_PER_SHARD,
        "splits": {
            split: passes * examples.count
            for split, (examples, passes) in splits.items()
        },
    }
    paths = {
        split: code_records.shard_paths(folder, split, card) for split in splits
    }
    # First, as shards are made for one autoencoder.
    cards.claim(
        folder,
        code_records.CARD,
        card,
        itertools.chain(*paths.values()),
        "remove that folder, or give another one",
    )

    @tf.function
    def encode(images):
        return strategy.run(autoencoder.encode, args=(images,))

    for split, (examples, _) in splits.items():
        _write_missing(
            paths[split],
            card["splits"][split],
            lambda start, stop, examples=examples: _rows(
                encode, with_ids(examples), strategy, seed, start, stop
            ),
            f"codes ({split})",
        )
    return card


def _write_missing(paths, total, rows, title):
    """Writes the shards that are not there, in runs of neighbours."""
    bounds = [*range(0, total, EXAMPLES_PER_SHARD), total]
    indices = range(len(paths))
    done = {i for i in indices if tf.io.gfile.exists(paths[i])}
    initial = sum(bounds[i + 1] - bounds[i] for i in done)
    with tqdm(total=total, initial=initial, desc=title, unit="img") as progress:
        for is_done, group in itertools.groupby(indices, done.__contains__):
            if is_done:
                continue
            group = list(group)
            found = rows(bounds[group[0]], bounds[group[-1] + 1])
            for i in group:
                count = bounds[i + 1] - bounds[i]
                code_records.write_shard(
                    paths[i], _counted(found, count, progress)
                )


def _counted(rows, count, progress):
    for row in itertools.islice(rows, count):
        yield row
        progress.update()


def _rows(
    encode, examples, strategy, seed, start, stop
) -> Iterator[tuple[list[np.ndarray], int, bytes]]:
    """Rows `start` to `stop` of all passes' ones."""
    batch_size = _DEVICE_BATCH * strategy.num_replicas_in_sync
    # Ids are strings, which stay on the host.
    options = tf.distribute.InputOptions(experimental_fetch_to_device=False)
    while start < stop:
        number, first = divmod(start, examples.count)
        last = min(first + stop - start, examples.count)
        batches = strategy.distribute_datasets_from_function(
            lambda context, number=number, first=first, last=last: (
                evaluation_batches(
                    examples,
                    batch_size,
                    context,
                    first,
                    last,
                    # Of every pass its own.
                    seed + number if number else None,
                )
            ),
            options,
        )
        for batch in batches:
            codes = [
                _whole(strategy, level) for level in encode(batch["image"])
            ]
            labels, ids, weights = (
                _whole(strategy, batch[name])
                for name in ("label", "id", "weight")
            )
            for i in np.flatnonzero(weights):
                yield [level[i] for level in codes], labels[i], ids[i]
        start += last - first


def _whole(strategy, values):
    """The replicas' parts of a batch, one after another, as an array."""
    parts = strategy.experimental_local_results(values)
    return np.concatenate([part.numpy() for part in parts])


def fingerprint(model: keras.Model) -> str:
    """16 hex digits that tell one set of weights from another."""
    digest = hashlib.sha256()
    for variable in model.weights:
        digest.update(repr((variable.dtype, variable.shape)).encode())
        digest.update(keras.ops.convert_to_numpy(variable).tobytes())
    return digest.hexdigest()[:16]

"""A folder of features: shards of rows, and a card that says what they are.

    card.json                      network, weights, resize, ..., count, arrays
    features-00000-of-00012.npy    [n, D] float32
    logits-00000-of-00012.npy      [n, C] float32, of classifiers
    labels-00000-of-00012.npy      [n] int32, where images have classes

Shards are written one by one, each file whole or not at all, so that a writer
that was stopped goes on at the first shard that is missing.
"""

import glob
import os
from collections.abc import Iterator
from collections.abc import Mapping

import numpy as np

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import shorten
from vqvae2_tf.files import atomic

CARD = "card.json"
# What makes the features of two folders comparable.
NETWORK_KEYS = ("network", "weights", "resize", "layer")


class Writer:
    """Writes a folder of features, or goes on with one.

    Args:
        folder: Path of the folder, local.
        card: What the features are, as JSON: `network` (its name), `weights`
            (the SHA-256 of its weights), `resize`, `layer`, `input` (the
            images, such as `folder:PATH`) and `version` (this package's).
        count: Number of images.
        arrays: Names of the arrays of each shard, `features` among them.
        shard_size: Images of each shard but the last one.

    Raises:
        UserError: If the folder holds features of another card.
    """

    def __init__(
        self,
        folder: str,
        card: Mapping,
        count: int,
        arrays: tuple[str, ...] = ("features",),
        shard_size: int = 4096,
    ):
        self.folder = folder
        card = {
            **card,
            "count": count,
            "arrays": list(arrays),
            "shard_size": shard_size,
        }
        path = os.path.join(folder, CARD)
        # Without a shard nothing would be lost: a damaged image stopped it.
        shards = os.path.join(glob.escape(folder), "*-of-*.npy")
        if os.path.exists(path) and glob.glob(shards):
            earlier = _read_card(folder)
            keys = sorted(
                key
                for key in card.keys() | earlier.keys()
                if card.get(key) != earlier.get(key)
            )
            if keys:
                raise UserError(
                    f"--output={folder} holds features of another "
                    f"{', '.join(keys)}: give another folder. Expected "
                    f"{keys[0]} {earlier.get(keys[0])}. Received: "
                    f"{card.get(keys[0])}"
                )
        else:
            atomic.write_json(path, card)
        self.card = card

    def missing(self) -> Iterator[tuple[int, range]]:
        """Yields each shard to be written: its number and its images' ones."""
        for shard, rows in enumerate(_shards(self.card)):
            if not all(map(os.path.exists, self._paths(shard).values())):
                yield shard, rows

    def write(self, shard: int, **arrays: np.ndarray) -> None:
        """Writes a shard.

        Args:
            shard: Its number.
            **arrays: Each array of the card, a row an image of the shard.

        Raises:
            ValueError: If the arrays are others, or have other rows.
        """
        rows = len(_shards(self.card)[shard])
        lengths = {name: len(array) for name, array in arrays.items()}
        if lengths != dict.fromkeys(self.card["arrays"], rows):
            raise ValueError(
                f"Expected {rows} rows of each of {self.card['arrays']}. "
                f"Received: {lengths}"
            )
        for name, path in self._paths(shard).items():
            dtype = "int32" if name == "labels" else "float32"
            with atomic.replacing(path) as new, atomic.as_user_error(path):
                np.save(new, np.asarray(arrays[name], dtype))

    def _paths(self, shard):
        names = self.card["arrays"]
        return {
            name: _path(self.folder, self.card, name, shard) for name in names
        }


class Rows:
    """The rows of one array in all shards, read as they are asked for.

    It has `shape`, `dtype` and `len`, and is indexed by a slice of step 1 or by
    an array of numbers of rows, as an array is; the answers are arrays.

    Args:
        shards: Arrays, or memory-mapped files, of rows of one shape.
    """

    def __init__(self, shards: list[np.ndarray]):
        self._shards = shards
        self._ends = np.cumsum([len(shard) for shard in shards])
        self.dtype = shards[0].dtype
        self.shape = (int(self._ends[-1]), *shards[0].shape[1:])

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        rows = np.asarray(rows)
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        owners = np.searchsorted(self._ends, rows, side="right")
        for owner in np.unique(owners):
            chosen = owners == owner
            shard = self._shards[owner]
            first = self._ends[owner] - len(shard)
            found[chosen] = shard[rows[chosen] - first]
        return found


class Chosen:
    """Some of the rows of an array or of `Rows`, indexed as these are.

    Args:
        rows: The rows.
        numbers: `[n]` numbers of those that count, in their new order.
    """

    def __init__(self, rows: np.ndarray | Rows, numbers: np.ndarray):
        self._rows, self.numbers = rows, np.asarray(numbers)
        self.dtype, self.shape = rows.dtype, (len(numbers), *rows.shape[1:])

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, rows):
        return self._rows[self.numbers[rows]]


def open_features(folder: str) -> tuple[dict, dict[str, Rows]]:
    """Opens a folder of features.

    Args:
        folder: Path of the folder, local.

    Returns:
        Tuple of the card and of the `Rows` of each of its arrays, by name.

    Raises:
        UserError: If it is none, or a shard is missing or damaged.
    """
    card = _read_card(folder)
    lengths = list(map(len, _shards(card)))
    arrays = {}
    for name in card["arrays"]:
        paths = [_path(folder, card, name, i) for i in range(len(lengths))]
        missing = [path for path in paths if not os.path.exists(path)]
        if missing:
            raise UserError(
                f"{folder}: {len(missing)} of {len(paths)} shards are missing "
                f"({shorten(list(map(os.path.basename, missing)))}); write "
                "them with the command that began the folder."
            )
        shards = list(map(_open, paths))
        if len({shard.shape[1:] for shard in shards}) != 1 or lengths != [
            len(shard) for shard in shards
        ]:
            raise UserError(
                f"{folder}: the shards of {name} do not fit its {CARD}; "
                "remove the folder and write it again."
            )
        arrays[name] = Rows(shards)
    return card, arrays


def check_same_network(cards: Mapping[str, Mapping]) -> None:
    """Checks that features may be compared.

    Args:
        cards: Card of each set of features, by the flag that names it.

    Raises:
        UserError: If two of them are of different networks.
    """
    if not cards:
        return
    (first, one), *others = cards.items()
    for flag, other in others:
        for key in NETWORK_KEYS:
            if one.get(key) != other.get(key):
                raise UserError(
                    f"--{flag}: expected features of the {key} of --{first}, "
                    f"{one.get(key)}. Received: {other.get(key)}"
                )


def _read_card(folder):
    path = os.path.join(folder, CARD)
    if not os.path.isdir(folder):
        raise UserError(f"features:{folder}: there is no such folder.")
    if not os.path.exists(path):
        raise UserError(
            f"features:{folder}: expected a folder of features, as `vqvae2 "
            f"evaluate features` writes it. Received: one without {CARD}"
        )
    card = atomic.read_json(path, "remove the folder and write it again")
    if not {"network", "count", "arrays", "shard_size"} <= card.keys():
        raise UserError(
            f"{path} is damaged; remove the folder and write it again."
        )
    return card


def _shards(card):
    """The range of images of each shard."""
    count, size = card["count"], card["shard_size"]
    starts = range(0, count, size)
    return [range(start, min(start + size, count)) for start in starts]


def _path(folder, card, name, shard):
    total = len(_shards(card))
    return os.path.join(folder, f"{name}-{shard:05}-of-{total:05}.npy")


def _open(path):
    try:
        return np.load(path, mmap_mode="r")
    except (ValueError, OSError) as error:
        raise UserError(
            f"{path} is damaged; remove it and write it again."
        ) from error

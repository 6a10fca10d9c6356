"""Names of results, and the rows that they are written as."""

import json
import os
from collections.abc import Iterable
from collections.abc import Mapping

from vqvae2_tf.files import atomic
from vqvae2_tf.files import filesystem

# What a distance must be measured with to be the FID of Heusel et al. 2017.
_OFFICIAL = {
    "network": "inception",
    "official_weights": True,
    "resize": "bilinear_tf1_299",
    "layer": "pool_3",
}
SPLITS = ("train", "validation")


def is_official(card: Mapping) -> bool:
    """Whether features are those that the papers' figures are of."""
    return all(card.get(key) == value for key, value in _OFFICIAL.items())


def frechet_name(card: Mapping) -> str:
    """`fid` if the features are the official ones, else `fd_<network>`."""
    return "fid" if is_official(card) else f"fd_{card['network']}"


def kernel_name(card: Mapping) -> str:
    """`kid` if the features are the official ones, else `kd_<network>`."""
    return "kid" if is_official(card) else f"kd_{card['network']}"


def score_name(card: Mapping) -> str:
    """`inception_score` of the official logits, else `is_<network>`."""
    return "inception_score" if is_official(card) else f"is_{card['network']}"


def split_of(card: Mapping) -> str:
    """`@train` or `@validation` if the images are of such a part, else ""."""
    split = str(card.get("input", "")).rpartition("@")[2]
    return f"@{split}" if split in SPLITS else ""


def append(path: str, rows: Iterable[Mapping]) -> None:
    """Adds rows to a file of one JSON object a line, made if it is not there.

    Args:
        path: Path of the file.
        rows: Each a dict of JSON values.
    """
    earlier = atomic.read_bytes(path) if filesystem.exists(path) else b""
    start = b"\n" if earlier and not earlier.endswith(b"\n") else b""
    lines = start + "".join(json.dumps(row) + "\n" for row in rows).encode()
    if "://" in path:
        atomic.write_bytes(path, earlier + lines)
        return
    # Several processes may add to a file.
    with atomic.as_user_error(path):
        filesystem.make_folders(os.path.dirname(path) or ".")
        with open(path, "ab") as file:
            file.write(lines)


def as_table(rows: Iterable[Mapping], columns: Iterable[str]) -> str:
    """Rows as text: a line each, numbers with five digits."""
    lines = [list(columns)]
    lines += [[_as_text(row.get(name)) for name in lines[0]] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _as_text(value):
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)

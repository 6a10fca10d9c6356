"""Provenance files record the settings that a folder's files were made with.

With them, interrupted work can resume safely.
"""

import os
from collections.abc import Iterable

from vqvae2_tf.errors import UserError
from vqvae2_tf.files import atomic
from vqvae2_tf.files import filesystem


def claim(
    folder: str,
    card: str,
    settings: dict,
    targets: Iterable[str],
    advice: str = "give another folder",
) -> None:
    """Writes a folder's provenance file, or checks that it is the same.

    Args:
        folder: Folder that files are written to.
        card: Name of the provenance file.
        settings: Settings that the files are made with; JSON values.
        targets: Paths that would be written. Without a provenance file none
            of them may exist, or they would pass for finished.
        advice: What the user can do if the folder cannot be used.

    Raises:
        UserError: If the folder's files were made with other settings.
    """
    path = os.path.join(folder, card)
    if not filesystem.exists(path):
        for target in filter(filesystem.exists, targets):
            raise UserError(
                f"{target} exists, but no {card} in {folder} records how it "
                f"was made; {advice}."
            )
        atomic.write_json(path, settings)
        return
    earlier = atomic.read_json(path, advice)
    differing = [
        f"{name} ({earlier.get(name, 'not set')} then, "
        f"{settings.get(name, 'not set')} now)"
        for name in sorted({*earlier, *settings})
        if earlier.get(name) != settings.get(name)
    ]
    if differing:
        raise UserError(
            f"{path}: these files were made with different settings: "
            f"{', '.join(differing)}; {advice}."
        )

"""Cards: what a folder's files were made with, so that work can be gone on."""

import json
import os
from collections.abc import Iterable

import tensorflow as tf

from vqvae2_tf.errors import UserError
from vqvae2_tf.files.atomic import write_text


def claim(
    folder: str,
    card: str,
    settings: dict,
    targets: Iterable[str],
    advice: str = "give another folder",
) -> None:
    """Writes a folder's card, or checks that it says the same.

    Args:
        folder: That files are written to.
        card: The card's file name.
        settings: What the files are made with, as JSON has it.
        targets: Paths that would be written. Without a card there must be
            none of them yet, or they would pass for finished.
        advice: What the user can do about it.

    Raises:
        UserError: If the folder's files were made with something else.
    """
    path = os.path.join(folder, card)
    if tf.io.gfile.exists(path):
        _check(path, settings, advice)
        return
    for target in targets:
        if tf.io.gfile.exists(target):
            raise UserError(
                f"{target} is there, but no {card} in {folder} that says how "
                f"it was made; {advice}."
            )
    write_text(path, json.dumps(settings, indent=2) + "\n")


def _check(path, settings, advice):
    with tf.io.gfile.GFile(path) as file:
        try:
            earlier = json.load(file)
        except ValueError:
            earlier = None
    if not isinstance(earlier, dict):
        raise UserError(f"{path} is damaged; {advice}.")
    differing = [
        f"{name} ({earlier.get(name)} then, {settings.get(name)} now)"
        for name in sorted({*earlier, *settings})
        if earlier.get(name) != settings.get(name)
    ]
    if differing:
        raise UserError(
            f"{path} tells of files made with another "
            f"{' and another '.join(differing)}; {advice}."
        )

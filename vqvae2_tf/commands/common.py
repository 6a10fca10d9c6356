"""Flags and steps that several verbs share."""

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from vqvae2_tf import flags
from vqvae2_tf.codes import npz
from vqvae2_tf.data import decoding
from vqvae2_tf.data.image_files import read_image
from vqvae2_tf.export import load
from vqvae2_tf.files import conversion
from vqvae2_tf.files import grids
from vqvae2_tf.flags import Flag
from vqvae2_tf.runs.configuration import STRATEGIES
from vqvae2_tf.runs.configuration import TPU

RUN_DIR = Flag("run_dir", None, "Folder of a run.", path=True, required=True)
DEVICES = (
    Flag("strategy", "auto", "Devices to use.", choices=STRATEGIES),
    TPU,
)
MODEL = (
    Flag("run_dir", None, "Folder of a finished run.", path=True),
    Flag("saved_model", None, "Folder of a SavedModel.", path=True),
)
MEMORY_ADVICE = "give a smaller --batch_size"


def output(help_text: str) -> Flag:
    """The flag `--output`."""
    return Flag("output", None, help_text, path=True, required=True)


def conversion_flags(source: str, target: str) -> list[Flag]:
    """Flags of a verb that converts a folder.

    Args:
        source: What `--input` is.
        target: What `--output` is.
    """
    return [
        *MODEL,
        Flag("input", None, source, path=True, required=True),
        output(target),
        Flag("batch_size", 16, "Files converted at once.", 1),
        Flag("overwrite", False, "Convert all files again."),
    ]


def parse(
    table: list[Flag], arguments: list[str], usage: str
) -> types.SimpleNamespace:
    """The values of a verb's flags; see `flags.parse`."""
    return types.SimpleNamespace(**flags.parse(table, arguments, usage)[0])


def load_autoencoder(options: types.SimpleNamespace) -> load.Autoencoder:
    """The SavedModel that the flags name."""
    path = load.find("autoencoder", options.run_dir, options.saved_model)
    return load.Autoencoder(path)


def convert_folder(
    options: types.SimpleNamespace,
    model: load.Autoencoder,
    verb: str,
    convert: Callable[[Any], Any],
    write: Callable[[str, Any], None] = grids.save_image,
    **settings,
) -> None:
    """Converts a folder of images or of codes.

    Args:
        options: Values of `conversion_flags`.
        model: The autoencoder.
        verb: Names the provenance file. `decode` reads codes and `encode`
            writes codes; all else are images.
        convert: Function of a batch of what is read to a batch of what is
            written: images `[B, H, W, C]` or codes `{"<level>": [B, h, w]}`.
        write: Function of the path of a PNG and of one such result.
        **settings: What else the files are made with.
    """

    def read(path):
        if verb == "decode":
            return npz.load_codes(path, model.levels.values())
        return read_image(path, model.image_size, model.channels)

    def convert_batch(examples):
        batch = tf.nest.map_structure(lambda *maps: np.stack(maps), *examples)
        converted = convert(batch)
        return [
            tf.nest.map_structure(lambda maps, i=i: maps[i], converted)
            for i in range(len(examples))
        ]

    endings = [npz.ENDING] if verb == "decode" else decoding.ENDINGS
    ending = ".png"
    if verb == "encode":
        ending, write = npz.ENDING, npz.save_codes
    conversion.convert_folder(
        conversion.Conversion(endings, ending, read, convert_batch, write),
        options.input,
        options.output,
        options.batch_size,
        f"{verb}.json",
        {"autoencoder": model.fingerprint, **settings},
        options.overwrite,
    )

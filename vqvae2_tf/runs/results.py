"""What a run shows at its end: metrics, reconstructions, samples."""

import dataclasses
import os

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vqvae2_tf.autoencoders.base import Autoencoder
from vqvae2_tf.data.batches import Examples
from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation.reconstruction_error import ReconstructionError
from vqvae2_tf.export.load import Generator
from vqvae2_tf.files import atomic
from vqvae2_tf.files import grids
from vqvae2_tf.runs import folder
from vqvae2_tf.runs.configuration import Configuration
from vqvae2_tf.runs.samples import find_labels

_GRID_COLUMNS = 16
_SAMPLE_ROWS = 16
# The first held-out images, of which SSIM is measured: it takes longer than all
# else where images are large and many.
_MOST_IMAGES = 512


def gather_metrics(config: Configuration) -> dict[str, float | str]:
    """The networks' results, which were printed, together.

    A prior's metrics have the level before their names. `bits_per_image` is
    the sum over the levels, where all priors have it.
    """
    metrics = {}
    if config.needs_images:
        metrics = _result(config, folder.AUTOENCODER)
    bits = []
    for level in config.level_names:
        result = _result(config, folder.prior_folder(level))
        metrics.update({f"{level}_{k}": v for k, v in result.items()})
        bits.append(result.get("bits_per_image"))
    if None not in bits:
        metrics["bits_per_image"] = sum(bits)
        print(f"bits_per_image {sum(bits):.5g}", flush=True)
    metrics["weights"] = config.weights
    return metrics


def prior_bits(config: Configuration) -> dict[str, float | None]:
    """Bits an image of each level's held-out codes, coarsest first.

    None for a level whose prior is not trained, or has no likelihood.
    """
    bits = {}
    for level in config.level_names:
        name = folder.prior_folder(level)
        model = os.path.join(config.run_dir, name, folder.MODEL_FILE)
        found = _result(config, name) if tf.io.gfile.exists(model) else {}
        bits[level] = found.get("bits_per_image")
    return bits


def _result(config, name):
    path = _result_path(config, name)
    model = os.path.join(config.run_dir, name, folder.MODEL_FILE)
    if not tf.io.gfile.exists(path):
        raise UserError(f"{path} does not exist: copy it with {model}.")
    return atomic.read_json(path, f"remove {model} to write both again")


def _result_path(config, name):
    return os.path.join(config.run_dir, name, folder.RESULT_FILE)


def add_ssim(
    config: Configuration, autoencoder: Autoencoder, validation: Examples
) -> None:
    """Adds the mean SSIM of held-out reconstructions to the result.

    It is of the first 512 images, in eight bits as `vqvae2 evaluate
    reconstruction` has them; images below SSIM's window of 11 pixels have none.
    """
    error = ReconstructionError()
    for batch in validation.first(_MOST_IMAGES).evaluation_arrays(
        2 * _GRID_COLUMNS
    ):
        images = batch["image"][batch["weight"] > 0]
        error.add(
            *map(grids.to_uint8, (images, _restored(autoencoder, images)))
        )
    results = error.results()
    if "ssim" in results:
        ssim, _ = results["ssim"]
        print(f"{folder.AUTOENCODER}: ssim {ssim:.4g}", flush=True)
        result = _result(config, folder.AUTOENCODER)
        path = _result_path(config, folder.AUTOENCODER)
        atomic.write_json(path, {**result, "ssim": ssim})


def _restored(autoencoder, images):
    return keras.ops.convert_to_numpy(autoencoder(images)["reconstruction"])


def write_reconstructions(
    path: str, autoencoder: Autoencoder, validation: Examples
) -> None:
    """Writes a PNG of held-out images, each above its reconstruction."""
    batch = next(validation.evaluation_arrays(2 * _GRID_COLUMNS))
    images = batch["image"][: int(np.sum(batch["weight"]))]
    restored = _restored(autoencoder, images)
    rows = []
    for start in range(0, len(images), _GRID_COLUMNS):
        stop = start + _GRID_COLUMNS
        rows += [images[start:stop], restored[start:stop]]
    grids.save_grid(path, rows, ["held-out", "restored"] * (len(rows) // 2))


@dataclasses.dataclass(frozen=True)
class Samples:
    """Rows of samples of a run's priors, a row a class.

    Args:
        labels: The rows' classes; None without classes.
        titles: Their names; None without classes.
        codes: `{"<level>": [N, *level.shape]}`, row after row.
        rows: List of images `[n, H, W, C]` in [-1, 1].
    """

    labels: list[int] | None
    titles: list[str] | None
    codes: dict[str, np.ndarray]
    rows: list[np.ndarray]


def draw_samples(saved_model: str, config: Configuration) -> Samples:
    """Draws samples, a row a class; without classes 4 rows.

    Args:
        saved_model: The run's generator.
        config: The run's configuration.
    """
    generator = Generator(saved_model)
    names = generator.class_names
    labels = find_labels("sample_classes", config.sample_classes, names)
    labels = labels or evenly_spaced(len(names) or 4, _SAMPLE_ROWS)
    titles = [names[label] for label in labels] if names else None
    count = config.samples_per_class
    options = {
        flag.name: getattr(config, flag.name)
        for flag in generator.sampling_flags
    }
    codes, rows = [], []
    for label in tqdm(labels, "samples", unit="row"):
        drawn = generator.sample_codes(
            np.full(count, label),
            config.seed,
            np.arange(count) + label * count,
            options,
        )
        codes.append(drawn)
        rows.append(generator.decode(drawn))
    together = {
        name: np.concatenate([drawn[name] for drawn in codes])
        for name in generator.levels
    }
    return Samples(labels if names else None, titles, together, rows)


def evenly_spaced(count: int, most: int) -> list[int]:
    """At most `most` numbers below `count`, from 0 on."""
    rows = min(count, most)
    return [row * count // rows for row in range(rows)]

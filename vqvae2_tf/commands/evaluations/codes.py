"""Codes of samples beside held-out codes, a level, without any network.

    vqvae2 evaluate codes --run_dir=runs/emoji --count=400 \\
        --output=metrics.jsonl

Jensen-Shannon divergence, in bits, of how often codes occur (`codes`), codes
and their right neighbours (`right`), and codes and those below (`below`), in
sampled maps and in the run's held-out ones: 0 if equally often, 1 if nothing is
in both. Samples are drawn with the run's own sampling options, of the classes
of the held-out images, or they are the codes that `vqvae2 sample
--keep_codes` wrote into the folder --samples.

A divergence falls with the number of maps. So both sides of each have n maps, n
being half of the held-out images, or the number of samples if that is less; and
beside it stands its `floor`, the divergence of n held-out maps from n others,
which perfect samples would have. Both are means over ten random choices of the
maps, and `deviation` is the first one's standard deviation over these. A line
of JSON for each is added to --output.
"""

import importlib.metadata

import numpy as np
from tqdm import tqdm

from vqvae2_tf.codes import records
from vqvae2_tf.codes.arrays import open_codes
from vqvae2_tf.commands import common
from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation import neighbours
from vqvae2_tf.evaluation import results
from vqvae2_tf.evaluation.code_statistics import compare_maps
from vqvae2_tf.evaluation.rejection import order_within_classes
from vqvae2_tf.export import load
from vqvae2_tf.files.atomic import check_file_writable
from vqvae2_tf.flags import Flag
from vqvae2_tf.level import Level
from vqvae2_tf.runs import folder
from vqvae2_tf.runs.pipeline import read_codes

FLAGS = [
    common.RUN_DIR,
    Flag("count", 0, "Samples drawn; 0 for as many as are held out.", 0),
    Flag("samples", None, "Folder of samples' codes.", path=True),
    Flag("seed", 0, "Seed of the samples and of the choices.", 0, 2**31 - 1),
    Flag("batch_size", 16, "Samples drawn at once.", 1),
    common.output("File that results are added to, a line each."),
]
MEMORY_ADVICE = common.MEMORY_ADVICE
COLUMNS = ("name", "value", "deviation", "floor", "n")
# Maps that are read at once.
_BLOCK = 256


def read_held_out(codes_dir: str, card: dict) -> tuple[dict, np.ndarray]:
    """Held-out codes: `{"<level>": [n, H, W]}`, and their labels `[n]`."""
    levels = [Level.of(level) for level in card["levels"]]
    maps, labels = {level.name: [] for level in levels}, []
    # Of these there is one pass, over the images as they are.
    examples = records.code_examples(codes_dir, card, "validation")
    for batch in examples.open().map(examples.read).batch(_BLOCK):
        labels.append(batch["label"].numpy())
        for level, own in zip(levels, batch["codes"], strict=True):
            maps[level.name].append(own.numpy().astype(level.storage))
    maps = {name: np.concatenate(parts) for name, parts in maps.items()}
    return maps, np.concatenate(labels)


def read_samples(path: str, levels: list[Level]) -> dict[str, np.ndarray]:
    """Codes of samples: `{"<level>": [n, H, W]}`."""
    try:
        found = open_codes(path, levels, ())
    except UserError as error:
        raise UserError(
            f"--samples, what `vqvae2 sample --keep_codes` writes: {error}"
        ) from error
    parts = [
        found.read(np.arange(rows.start, rows.stop))[0]
        for rows in neighbours.blocks(found.count, _BLOCK)
    ]
    return {
        level.name: np.concatenate(own).astype(level.storage)
        for level, own in zip(levels, zip(*parts, strict=True), strict=True)
    }


def draw_samples(path, options, config, labels) -> dict[str, np.ndarray]:
    """Codes of samples, those that `vqvae2 sample` draws of the same classes.

    Args:
        path: The generator's SavedModel.
        options: Values of the flags.
        config: The run's configuration.
        labels: `[n]`, those of the held-out images; of -1, no class, none is
            drawn.
    """
    model = load.Generator(path)
    if model.class_names:
        labels = labels[labels >= 0]
    count = options.count or len(labels)
    labels = labels[np.arange(count) * len(labels) // count].astype("int64")
    if not model.class_names:
        labels[:] = 0
    indices = order_within_classes(np.zeros(count), labels)
    sample_ids = indices * max(len(model.class_names), 1) + labels
    sampling = model.options_of(vars(config))
    parts = []
    for start in tqdm(range(0, count, options.batch_size), unit="batch"):
        # Filled up: a batch of another size would be compiled again.
        batch = np.resize(
            np.arange(start, min(start + options.batch_size, count)),
            options.batch_size,
        )
        parts.append(
            model.sample_codes(
                labels[batch], options.seed, sample_ids[batch], sampling
            )
        )
    return {
        name: np.concatenate([part[name] for part in parts])[:count]
        for name in model.levels
    }


def main(arguments):
    """Measures the divergences, prints them and adds them to a file."""
    options = common.parse(FLAGS, arguments, __doc__)
    if options.samples and options.count:
        raise UserError("expected either --samples or --count.")
    config = folder.read_config(options.run_dir)
    codes_dir, card = read_codes(config)
    levels = [Level.of(level) for level in card["levels"]]
    if not any(level.num_codes for level in levels):
        raise UserError(
            f"--run_dir={options.run_dir}: expected a run with levels of "
            "codes. Received: levels of vectors alone"
        )
    if card["splits"]["validation"] < 2:
        raise UserError(
            f"--run_dir={options.run_dir}: expected two held-out images or "
            f"more. Received: {card['splits']['validation']}"
        )
    check_file_writable("output", options.output)
    if options.samples:
        samples = read_samples(options.samples, levels)
    else:
        path = load.find("generator", options.run_dir, None)
    held_out, labels = read_held_out(codes_dir, card)
    if not options.samples:
        samples = draw_samples(path, options, config, labels)
    rows = []
    for level in levels:
        if not level.num_codes:
            continue
        maps = samples[level.name], held_out[level.name]
        count, found = compare_maps(*maps, options.seed)
        for statistic, (value, deviation, floor) in found.items():
            rows.append(
                {
                    "name": f"{level.name}_js_{statistic}",
                    "value": value,
                    "standard_error": None,
                    "deviation": deviation,
                    "floor": floor,
                    "n": count,
                    "reference_n": count,
                    "samples": len(maps[0]),
                    "held_out": len(maps[1]),
                    "input": options.samples or f"run:{options.run_dir}",
                    "reference": f"run:{options.run_dir}@validation",
                    "codes_fingerprint": card["fingerprint"],
                    "version": importlib.metadata.version("vqvae2_tf"),
                }
            )
    results.append(options.output, rows)
    print(results.as_table(rows, COLUMNS))

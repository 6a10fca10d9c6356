"""Draws images from a run's priors: a PNG each, and a grid.

    vqvae2 sample --run_dir=runs/emoji --output=SAMPLES --count=16 \\
        --classes=country-flag,1 --temperature=0.9,0.8

Writes SAMPLES/images, with a subfolder a class if the priors have classes;
SAMPLES/grid.png of the first images; and with --keep_codes SAMPLES/codes, as
`vqvae2 encode` writes them. The seed, the class and the number of an image
determine it, whatever --count, --classes and --batch_size are. So images can be
added to a folder: those in it are not drawn again. --vary=4 draws three more
images of each, `<number>_0001.png` and so on, that share its coarsest level and
differ in the finer ones; the grid then has a row for each. --run_dir with
--help lists the sampling options of its priors, such as --temperature.
"""

import os

import numpy as np
from tqdm import tqdm

from vqvae2_tf import flags
from vqvae2_tf.commands import common
from vqvae2_tf.errors import UserError
from vqvae2_tf.export import load
from vqvae2_tf.files import provenance
from vqvae2_tf.files.atomic import check_writable
from vqvae2_tf.flags import Flag
from vqvae2_tf.runs import samples

# A sample's number has 20 bits below those of its variation.
_MOST_VARIED = 2**20
_MOST_VARIATIONS = 2**11

FLAGS = [
    *common.MODEL,
    common.output("Folder that the images are written to."),
    Flag(
        "classes",
        [],
        "Names of classes, or their numbers from 0 where no name is a number; "
        "all if none.",
        many=True,
    ),
    Flag("count", 16, "Images of each class.", 1, 999_999),
    Flag(
        "vary",
        1,
        "Images of each coarse sample, which share the coarsest codes.",
        1,
        _MOST_VARIATIONS,
    ),
    Flag("seed", 0, "Seed of all images.", 0, 2**31 - 1),
    Flag("batch_size", 16, "Images drawn at once.", 1),
    Flag("keep_codes", False, "Write the codes too."),
]
MEMORY_ADVICE = common.MEMORY_ADVICE


def main(arguments):
    """Draws the images."""
    named, _ = flags.parse(common.MODEL, arguments, known_only=True)
    if not any(named.values()):
        common.parse(FLAGS, arguments, __doc__)  # For --help, or an error.
    model = load.Generator(load.find("generator", **named))
    options = common.parse([*FLAGS, *model.sampling_flags], arguments, __doc__)
    sampling = {
        flag.name: flag.spread(getattr(options, flag.name), list(model.levels))
        for flag in model.sampling_flags
    }
    labels = samples.find_labels("classes", options.classes, model.class_names)
    num_classes = max(len(model.class_names), 1)
    labels = labels or range(num_classes)
    varies = options.vary > 1
    most = (_MOST_VARIED if varies else 2**31) // num_classes
    if options.count > most:
        raise UserError(
            f"--count: expected at most {most} for a generator of "
            f"{num_classes} classes{' and with --vary' * varies}, as samples "
            f"are numbered by int32. Received: {options.count}"
        )
    coarsest, *finer = model.levels
    if varies and not finer:
        raise UserError(
            "--vary: expected a generator of several levels, as the coarsest "
            f"is shared. Received: {coarsest} alone"
        )
    output = options.output
    check_writable("output", output)
    folder = samples.SampleFolder(output, model.class_names, options.keep_codes)
    settings = {"generator": model.fingerprint, "seed": options.seed}
    entries = [os.path.join(output, name) for name in samples.ENTRIES]
    provenance.claim(output, "sample.json", settings | sampling, entries)
    missing = folder.missing(labels, options.count, options.vary)
    total = options.count * len(labels) * options.vary
    existing = total - len(missing)
    batch_size = min(options.batch_size, len(missing)) or 1
    todo = set(missing)
    firsts = list(dict.fromkeys((*sample[:2], 0) for sample in missing))

    def draw(batch, known=None):
        # Filled up: a batch of another size would be compiled again.
        classes, indices, variations = np.resize(batch, (batch_size, 3)).T
        # A number of its own for each image of each class.
        sample_ids = indices * num_classes + classes
        sample_ids += variations * _MOST_VARIED
        codes = model.sample_codes(
            classes, options.seed, sample_ids, sampling, known
        )
        images = model.decode(codes)
        for i, sample in enumerate(batch):
            if sample in todo:
                own = {name: maps[i] for name, maps in codes.items()}
                folder.write(sample, own, images[i])
                progress.update()
        return codes

    progress = tqdm(total=total, initial=existing, desc="samples", unit="img")
    with progress:
        for batch in _parts(firsts, batch_size):
            if not varies:
                draw(batch)
                continue
            shared = draw(batch, known={})[coarsest]
            # What filled up the batch is left out.
            of_first = dict(zip(batch, shared, strict=False))
            others = [
                (*first[:2], v)
                for first in batch
                for v in range(1, options.vary)
                if (*first[:2], v) in todo
            ]
            for part in _parts(others, batch_size):
                maps = np.stack([of_first[*s[:2], 0] for s in part])
                shape = (batch_size, *maps.shape[1:])
                draw(part, {coarsest: np.resize(maps, shape)})
    grid = folder.write_grid(labels, options.count, options.vary)
    print(f"{grid}: {len(missing)} images drawn, {existing} existed before")


def _parts(values, size):
    """Consecutive parts of a list."""
    return [values[i : i + size] for i in range(0, len(values), size)]

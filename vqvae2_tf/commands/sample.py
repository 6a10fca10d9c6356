"""Draws images from a run's priors: a PNG each, and a grid.

    vqvae2 sample --run_dir=runs/emoji --output=SAMPLES --count=16 \\
        --classes=country-flag,1 --temperature=0.9,0.8

Writes SAMPLES/images, with a subfolder a class if the priors have classes;
SAMPLES/grid.png of the first images; and with --keep_codes SAMPLES/codes, as
`vqvae2 encode` writes them. The seed, the class and the number of an image
determine it, whatever --count, --classes and --batch_size are. So images can be
added to a folder: those in it are not drawn again. --run_dir with --help lists
the sampling options of its priors, such as --temperature.
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
    if options.count * num_classes > 2**31:
        raise UserError(
            f"--count: expected at most {2**31 // num_classes} for a generator "
            f"of {num_classes} classes, as samples are numbered by int32. "
            f"Received: {options.count}"
        )
    output = options.output
    check_writable("output", output)
    folder = samples.SampleFolder(output, model.class_names, options.keep_codes)
    settings = {"generator": model.fingerprint, "seed": options.seed}
    entries = [os.path.join(output, name) for name in samples.ENTRIES]
    provenance.claim(output, "sample.json", settings | sampling, entries)
    missing = folder.missing(labels, options.count)
    total = options.count * len(labels)
    existing = total - len(missing)
    batch_size = min(options.batch_size, len(missing)) or 1
    progress = tqdm(total=total, initial=existing, desc="samples", unit="img")
    with progress:
        for start in range(0, len(missing), batch_size):
            batch = missing[start : start + batch_size]
            # Filled up: a batch of another size would be compiled again.
            classes, indices = np.resize(batch, (batch_size, 2)).T
            # A number of its own for each image of each class.
            sample_ids = indices * num_classes + classes
            codes = model.sample_codes(
                classes, options.seed, sample_ids, sampling
            )
            images = model.decode(codes)
            for i, (label, index) in enumerate(batch):
                own = {name: maps[i] for name, maps in codes.items()}
                folder.write(label, index, own, images[i])
            progress.update(len(batch))
    grid = folder.write_grid(labels, options.count)
    print(f"{grid}: {len(missing)} images drawn, {existing} existed before")

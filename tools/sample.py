"""Draws pictures from a run's priors: a PNG each, and a grid.

    python tools/sample.py --run_dir=runs/emoji --output=SAMPLES --count=16 \
        --classes=Flags,1 --temperature=0.9,0.8

Writes SAMPLES/pictures, with a subfolder a class if the priors have classes;
SAMPLES/grid.png of the first pictures; and with --keep_codes SAMPLES/codes, as
tools/encode.py writes them. The seed, the class and the number of a picture
fix it, whatever --count, --classes and --batch_size are. So a folder can be
added to: what is in it is not drawn again.
"""

import itertools
import os

import numpy as np
from absl import flags
from tqdm import tqdm

from vqvae2_tf.commands import cli as command
from vqvae2_tf.errors import UserError
from vqvae2_tf.export import load as saved_models
from vqvae2_tf.files import provenance as cards
from vqvae2_tf.files.atomic import check_writable
from vqvae2_tf.runs import samples as sample_files

FLAGS = flags.FLAGS

# More than any codebook has.
_ALL_CODES = 2**31 - 1


def chosen_labels(given, class_names):
    """Labels of the classes that `--classes` names, or numbers; all if none."""
    if given and not class_names:
        raise UserError("--classes: this generator has no classes.")
    if not given:
        return list(range(max(len(class_names), 1)))
    labels = []
    for name in given:
        if name in class_names:
            labels.append(class_names.index(name))
        elif name.isdecimal() and int(name) < len(class_names):
            labels.append(int(name))
        else:
            raise UserError(
                f"--classes: expected of {', '.join(class_names)}, or numbers "
                f"below {len(class_names)}. Received: {name}"
            )
    return list(dict.fromkeys(labels))


def one_a_level(flag, kind, smallest, largest, level_names):
    """Values of a flag in a range, one a level, coarsest first."""
    given = FLAGS[flag].value or [str(largest)]
    try:
        values = [kind(text) for text in given]
    except ValueError:
        values = []
    if len(values) == 1:
        values *= len(level_names)
    if len(values) != len(level_names) or not all(
        smallest <= value <= largest for value in values
    ):
        number = "a whole number" if kind is int else "a number"
        raise UserError(
            f"--{flag}: expected {number} from {smallest} to {largest:.9g}, "
            f"or one for each of {', '.join(level_names)}. "
            f"Received: {','.join(given)}"
        )
    return values


def sample():
    """Draws what the flags say."""
    model = saved_models.Generator(
        saved_models.find("generator", FLAGS.run_dir, FLAGS.saved_model)
    )
    names = list(model.map_sizes)
    labels = chosen_labels(FLAGS.classes, model.class_names)
    temperatures = one_a_level("temperature", float, 1e-3, 100.0, names)
    top_ks = one_a_level("top_k", int, 1, _ALL_CODES, names)
    top_ps = one_a_level("top_p", float, 1e-6, 1.0, names)
    num_classes = max(len(model.class_names), 1)
    if FLAGS.count * num_classes > 2**31:
        raise UserError(
            f"--count: expected at most {2**31 // num_classes} for a generator "
            f"of {num_classes} classes, as pictures are numbered by int32. "
            f"Received: {FLAGS.count}"
        )
    output = os.path.expanduser(FLAGS.output)
    check_writable("output", output)
    folder = sample_files.SampleFolder(
        output, model.class_names, FLAGS.keep_codes
    )
    cards.claim(
        output,
        "sample.json",
        {
            "generator": model.fingerprint,
            "seed": FLAGS.seed,
            "temperature": temperatures,
            "top_k": top_ks,
            "top_p": top_ps,
        },
        [os.path.join(output, name) for name in sample_files.ENTRIES],
    )
    found = folder.found(labels, FLAGS.count)
    missing = (
        (labels[column], index)
        for index, row in enumerate(found)
        for column in np.flatnonzero(~row)
    )
    batch_size = min(FLAGS.batch_size, found.size - found.sum())
    with tqdm(
        total=found.size, initial=found.sum(), desc="samples", unit="img"
    ) as progress:
        while batch := list(itertools.islice(missing, batch_size)):
            # Filled up: a batch of another size would be compiled anew.
            drawn = [*batch, *[batch[0]] * (batch_size - len(batch))]
            codes = model.sample_codes(
                [label for label, _ in drawn],
                temperatures,
                FLAGS.seed,
                # A number of its own for each picture of each class.
                [index * num_classes + label for label, index in drawn],
                top_ks,
                top_ps,
            )
            images = model.decode(codes)
            for i, (label, index) in enumerate(batch):
                own = {name: maps[i] for name, maps in codes.items()}
                folder.write(label, index, own, images[i])
            progress.update(len(batch))
    grid = folder.write_grid(labels, FLAGS.count)
    print(
        f"{grid}: {found.size - found.sum()} pictures drawn, {found.sum()} "
        "there before"
    )


if __name__ == "__main__":
    command.define_model_flags()
    flags.DEFINE_string(
        "output",
        None,
        "Folder that the pictures are written to.",
        required=True,
    )
    flags.DEFINE_list(
        "classes", [], "Names or numbers of classes; all if none."
    )
    flags.DEFINE_integer(
        "count", 16, "Pictures a class.", lower_bound=1, upper_bound=999_999
    )
    flags.DEFINE_list(
        "temperature", "1", "One number, or one a level, coarsest first."
    )
    flags.DEFINE_list(
        "top_k",
        [],
        "Only so many of the likeliest codes are drawn; one number, or one a "
        "level; all if none.",
    )
    flags.DEFINE_list(
        "top_p",
        [],
        "Only the likeliest codes that together have this probability are "
        "drawn; one number, or one a level; all if none.",
    )
    flags.DEFINE_integer(
        "seed", 0, "Of all pictures.", lower_bound=0, upper_bound=2**31 - 1
    )
    flags.DEFINE_integer(
        "batch_size", 16, "Pictures drawn at once.", lower_bound=1
    )
    flags.DEFINE_boolean("keep_codes", False, "Write the codes too.")
    command.run(sample)

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

--keep_best=0.1 --critic=CLASSIFIER draws ten times --count candidates of each
class, and keeps the --count of them that are most probably of their class, says
the classifier: rejection sampling, section 3.3 of VQ-VAE-2. CLASSIFIER is the
folder of a SavedModel, or a network, as `vqvae2 evaluate features` takes them,
with logits of the priors' classes, in their order. An image is the candidate of
its number; SAMPLES/scores has the scores of all. Such a folder keeps its
--count, as the best of more are others.
"""

import math
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
from vqvae2_tf.runs import best_samples
from vqvae2_tf.runs import samples

_MOST_VARIATIONS = 2**11
# Of the six digits of a file's name.
_MOST_NUMBERED = 10**6

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
    Flag(
        "keep_best",
        1.0,
        "Share of the candidates of each class that is kept.",
        1e-4,
        1,
    ),
    Flag("critic", None, "Classifier that chooses: a SavedModel or a network."),
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
    sampling = model.options_of(vars(options))
    labels = samples.find_labels("classes", options.classes, model.class_names)
    labels = labels or range(max(len(model.class_names), 1))
    # Rounded first: 3 / 0.3 is a little more than 10.
    candidates = math.ceil(round(options.count / options.keep_best, 6))
    _check(options, model, candidates)
    settings = {"generator": model.fingerprint, "seed": options.seed}
    critic = None
    if options.keep_best < 1:
        critic = _open_critic(options.critic, model)
        settings |= {"keep_best": options.keep_best, "kept": options.count}
        settings |= critic.settings
    output = options.output
    check_writable("output", output)
    folder = samples.SampleFolder(output, model.class_names, options.keep_codes)
    entries = [os.path.join(output, name) for name in samples.ENTRIES]
    provenance.claim(output, samples.CARD, settings | sampling, entries)
    numbers = dict.fromkeys(labels, range(options.count))
    batch_size = options.batch_size
    if critic:
        batch_size = min(batch_size, candidates)
        sampler = samples.Sampler(model, options.seed, sampling, batch_size)
        numbers = best_samples.best_numbers(
            folder,
            labels,
            options.count,
            candidates,
            lambda batch: sampler.draw(batch)[1],
            critic,
            batch_size,
        )
    missing = folder.missing(numbers, options.vary)
    if not critic:
        batch_size = min(batch_size, len(missing)) or 1
        sampler = samples.Sampler(model, options.seed, sampling, batch_size)
    existing = options.count * len(labels) * options.vary - len(missing)
    _draw_missing(folder, sampler, missing, existing, options.vary)
    grid = folder.write_grid(numbers, options.vary)
    print(f"{grid}: {len(missing)} images drawn, {existing} existed before")


def _check(options, model, candidates):
    """Raises `UserError` for flags that this generator cannot fulfil."""
    num_classes = max(len(model.class_names), 1)
    varies = options.vary > 1
    most = (samples.MOST_VARIED if varies else 2**31) // num_classes
    if options.count > most:
        raise UserError(
            f"--count: expected at most {most} for a generator of "
            f"{num_classes} classes{' and with --vary' * varies}, as samples "
            f"are numbered by int32. Received: {options.count}"
        )
    if varies and len(model.levels) < 2:
        raise UserError(
            "--vary: expected a generator of several levels, as the coarsest "
            f"is shared. Received: {next(iter(model.levels))} alone"
        )
    rejects = options.keep_best < 1
    if rejects != bool(options.critic):
        raise UserError(
            "expected --keep_best below 1 and --critic together. Received: "
            f"{'--keep_best' if rejects else '--critic'} alone"
        )
    if rejects and varies:
        raise UserError("expected either --keep_best or --vary.")
    if rejects and not model.class_names:
        raise UserError(
            "--keep_best: expected priors with classes, by which the critic "
            "chooses. Received: priors without"
        )
    most = min(most, _MOST_NUMBERED)
    if rejects and candidates > most:
        raise UserError(
            f"--keep_best: expected at most {most} candidates of a class. "
            f"Received: {candidates}"
        )


def _open_critic(name, model):
    """The critic, tried on an image."""
    codes = {n: np.zeros((1, *x.shape)) for n, x in model.levels.items()}
    image = model.decode(codes)[0]
    return best_samples.Critic(name, image, len(model.class_names))


def _draw_missing(folder, sampler, missing, existing, vary):
    """Draws and writes what is missing in a folder."""
    todo = set(missing)
    firsts = list(dict.fromkeys((*sample[:2], 0) for sample in missing))
    progress = tqdm(
        total=existing + len(missing),
        initial=existing,
        desc="samples",
        unit="img",
    )

    def draw(batch, known=None):
        codes, images = sampler.draw(batch, known)
        for i, sample in enumerate(batch):
            if sample in todo:
                own = {name: maps[i] for name, maps in codes.items()}
                folder.write(sample, own, images[i])
                progress.update()
        return codes

    with progress:
        for batch in _parts(firsts, sampler.batch_size):
            if vary == 1:
                draw(batch)
                continue
            codes = draw(batch, known={})
            coarsest = next(iter(codes))
            # What filled up the batch is left out.
            of_first = dict(zip(batch, codes[coarsest], strict=False))
            others = [
                (*first[:2], v)
                for first in batch
                for v in range(1, vary)
                if (*first[:2], v) in todo
            ]
            for part in _parts(others, sampler.batch_size):
                maps = np.stack([of_first[*s[:2], 0] for s in part])
                shape = (sampler.batch_size, *maps.shape[1:])
                draw(part, {coarsest: np.resize(maps, shape)})


def _parts(values, size):
    """Consecutive parts of a list."""
    return [values[i : i + size] for i in range(0, len(values), size)]

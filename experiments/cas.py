"""Classification Accuracy Score: what classifiers learn from samples.

    python experiments/cas.py --run_dir=runs/emoji --output=runs/emoji_cas

Ravuri and Vinyals 2019; section 5.3 and table 2 of the VQ-VAE-2 paper. The same
classifier is trained from scratch on each set of images that --trained_on
names, for the same steps, from the same seed and with the classes in the same
order:

    real                the run's training images
    reconstructions     what its autoencoder makes of them
    samples             as many of each class, drawn from its priors with its
                        own sampling options as `vqvae2 sample` draws them, or
                        those of --samples=folder:DIR, a subfolder a class
    real_and_samples    both

Each is tested on the run's held-out images and on their reconstructions. What
is lost between a classifier of real images and one of samples is split:

    decoder     trained on real images and tested on them, minus trained on
                reconstructions
    prior       trained on reconstructions, minus trained on samples

of classifiers tested on real images, and again with those of reconstructions
and samples tested on reconstructions, which leaves out what is lost to the
change of domain alone. Standard errors are of the test images, not of the
training: another seed gives another classifier.

--classifier is resnet50 (the default for images of 64 pixels and more),
resnet56 (for smaller ones), plain_cnn, or the full path of a module with a
function `make_classifier` as theirs. It is trained on one device. Images are
padded by an eighth of their size, cropped at random and flipped. SGD has
Nesterov's momentum of 0.9 and a weight decay of 1e-4; the learning rate rises
for an eighteenth of the steps and falls as a cosine.

Writes the images to OUTPUT/train and OUTPUT/held_out as PNG files, the
classifiers to OUTPUT/classifiers, OUTPUT/per_class.csv, and adds the results to
OUTPUT/metrics.jsonl. Started again, the command goes on with the images and the
classifiers that are missing.
"""

from vqvae2_tf.commands import cli

if __name__ == "__main__":
    cli.run_script(__file__)

import collections
import concurrent.futures
import csv
import importlib
import importlib.metadata
import io
import itertools
import os
import sys

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vqvae2_tf.commands import common
from vqvae2_tf.commands import reconstruct
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.evaluation import results
from vqvae2_tf.export import load
from vqvae2_tf.files import atomic
from vqvae2_tf.files import filesystem
from vqvae2_tf.files import provenance
from vqvae2_tf.files.listing import list_files
from vqvae2_tf.flags import Flag
from vqvae2_tf.runs import folder
from vqvae2_tf.runs import inputs
from vqvae2_tf.runs.samples import IMAGES
from vqvae2_tf.runs.samples import SampleFolder
from vqvae2_tf.runs.samples import Sampler
from vqvae2_tf.training.devices import open_devices
from vqvae2_tf.training.precision import PRECISIONS
from vqvae2_tf.training.precision import choose_precision
from vqvae2_tf.training.precision import dtype_policy

REAL, RECONSTRUCTIONS, SAMPLES = "real", "reconstructions", "samples"
# The sets that each classifier is trained on.
TRAINED_ON = {
    REAL: (REAL,),
    RECONSTRUCTIONS: (RECONSTRUCTIONS,),
    SAMPLES: (SAMPLES,),
    "real_and_samples": (REAL, SAMPLES),
}
TESTED_ON = (REAL, RECONSTRUCTIONS)
FLAGS = [
    common.RUN_DIR,
    common.output("Folder for images, classifiers and results."),
    Flag(
        "trained_on",
        list(TRAINED_ON),
        "What classifiers are trained on.",
        choices=tuple(TRAINED_ON),
        many=True,
    ),
    Flag("samples", None, "Samples, if not the run's: folder:DIR."),
    Flag(
        "classifier",
        None,
        "resnet50, resnet56, plain_cnn or a module's full path; by the size of "
        "the images if not given.",
    ),
    Flag(
        "image_size",
        (0, 0),
        "HEIGHT,WIDTH that images are scaled to for the classifier; as they "
        "are if 0,0.",
        0,
        many=True,
    ),
    Flag(
        "epochs", 90, "Passes over the real images; sets the steps of all.", 1
    ),
    Flag("batch_size", 256, "Images at once.", 1),
    Flag("learning_rate", 0.1, "Highest learning rate.", 0),
    Flag("flip", True, "Flip training images at random."),
    Flag("seed", 0, "Seed of the classifiers.", 0, 2**31 - 1),
    Flag("precision", "auto", "Of the classifiers.", choices=PRECISIONS),
    Flag("data_dir", None, "Folder of prepared data sets.", path=True),
]
MEMORY_ADVICE = common.MEMORY_ADVICE
CARD = "card.json"
# Images that are read, and samples that are drawn, at once.
_AT_ONCE = 16
# On CPUs, XLA makes TensorFlow's training slower; JAX is slow without it.
_JIT = keras.backend.backend() == "jax"


def find_classifier(name, image_size, num_classes):
    """The function that makes a network, after a first try of it.

    Raises:
        UserError: If there is no such function, or it takes no such images.
    """
    module = name if "." in name else f"experiments.{name}"
    # Where `experiments` and the user's own modules are.
    sys.path += [os.path.dirname(os.path.dirname(__file__)), os.getcwd()]
    try:
        make = importlib.import_module(module).make_classifier
    except (ImportError, AttributeError, TypeError) as error:
        raise UserError(
            f"--classifier={name}: expected resnet50, resnet56, plain_cnn, or "
            "the full path of a module with a function make_classifier. "
            f"Received: {one_line(error)}"
        ) from error
    try:
        shape = make(image_size, num_classes).output_shape
    except ValueError as error:
        raise UserError(f"--classifier={name}: {one_line(error)}") from error
    if tuple(shape) != (None, num_classes):
        raise UserError(
            f"--classifier={name}: expected logits of shape "
            f"{(None, num_classes)}. Received: {shape}"
        )
    return make


def labels_of(images, class_names):
    """The run's label of each of the images' classes.

    Args:
        images: `inputs.Images`, whose classes may have the names that `vqvae2
            sample` gives to folders.
        class_names: Names of the run's classes.

    Raises:
        UserError: If a class is none of the run's.
    """
    files = SampleFolder("", class_names, keep_codes=False)
    labels = {name: i for i, name in enumerate(class_names)}
    for i in range(len(class_names)):
        name = os.path.basename(os.path.dirname(files.path(IMAGES, i, 0)))
        labels.setdefault(name, i)
    unknown = [name for name in images.class_names if name not in labels]
    if unknown or not images.class_names:
        raise UserError(
            "--samples: expected subfolders with the names of the run's "
            f"classes. Received: {unknown[0] if unknown else 'none'}"
        )
    return [labels[name] for name in images.class_names]


def write_images(target, images, class_names):
    """Writes images as PNG files; those without a class are left out.

    Args:
        target: Folder that they are written to, a subfolder a class.
        images: `inputs.Images`.
        class_names: Names of the run's classes.
    """
    labels = labels_of(images, class_names)
    files = SampleFolder(target, class_names, keep_codes=False)
    settings = {"images": images.identity}
    _claim(target, settings, [IMAGES])
    existing = set(list_files(target, [".png"]).paths)
    finished = os.path.join(target, "finished.json")
    if os.path.exists(finished):
        count = atomic.read_json(finished, f"remove {target}").get("count")
        if count == len(existing):
            return
    counts = collections.Counter()
    progress = tqdm(total=images.count, desc=target, unit="img")
    with progress, concurrent.futures.ThreadPoolExecutor() as pool:
        for first in range(0, images.count, _AT_ONCE):
            n = min(_AT_ONCE, images.count - first)
            todo = []
            for image, number in zip(*images.read(first, n), strict=True):
                if number < 0:
                    continue
                label = labels[number]
                sample = label, counts[label], 0
                counts[label] += 1
                if files.path(IMAGES, *sample) not in existing:
                    todo.append((sample, {}, image / np.float32(127.5) - 1))
            list(pool.map(lambda one: files.write(*one), todo))
            progress.update(n)
    atomic.write_json(finished, {"count": counts.total()})


def draw_samples(target, generator, sampling, counts):
    """Writes samples as PNG files, which `vqvae2 sample` would draw too.

    Args:
        target: Folder that they are written to, a subfolder a class.
        generator: `load.Generator`.
        sampling: Its sampling options.
        counts: Number of samples of each class.
    """
    num_classes = len(counts)
    files = SampleFolder(target, generator.class_names, keep_codes=False)
    settings = {"generator": generator.fingerprint, **sampling}
    _claim(target, settings, [IMAGES])
    numbers = dict.fromkeys(range(num_classes), range(max(counts)))
    todo = [s for s in files.missing(numbers) if s[1] < counts[s[0]]]
    sampler = Sampler(generator, 0, sampling, _AT_ONCE)
    progress = tqdm(total=len(todo), desc=target, unit="img", disable=not todo)
    with progress:
        for start in range(0, len(todo), _AT_ONCE):
            batch = todo[start : start + _AT_ONCE]
            _, images = sampler.draw(batch)
            # What filled up the batch is left out.
            for sample, image in zip(batch, images, strict=False):
                files.write(sample, {}, image)
            progress.update(len(batch))


def _claim(target, settings, names):
    paths = [os.path.join(target, name) for name in names]
    advice = f"remove {target}, or give another --output"
    provenance.claim(target, CARD, settings, paths, advice)


def list_images(target):
    """Paths of a folder's images, class by class, and their labels."""
    names = list_files(target, [".png"]).paths
    labels = [int(name.split("/")[-2].partition("_")[0]) for name in names]
    return [os.path.join(target, name) for name in names], np.array(labels)


def _read(path, image_size, is_scaled):
    """An image `[*image_size, 3]` float32 in [-1, 1]."""
    image = tf.io.decode_png(tf.io.read_file(path), 3)
    image = tf.cast(image, tf.float32) / 127.5 - 1.0
    if is_scaled:
        image = tf.image.resize(image, image_size, antialias=True)
    return tf.ensure_shape(image, (*image_size, 3))


def augment(image, seed, flip):
    """Moves an image by up to an eighth of its size, and may flip it.

    Args:
        image: `[H, W, 3]`; what comes in from outside is 0.
        seed: `[2]` int64; the result is a function of it.
        flip: Whether half of the images are flipped.
    """
    height, width, _ = image.shape
    down, right = height // 8, width // 8
    padded = tf.pad(image, [[down, down], [right, right], [0, 0]])
    image = tf.image.stateless_random_crop(padded, image.shape, seed)
    if flip:
        own_seed = seed * tf.constant([1, -1], seed.dtype)
        image = tf.image.stateless_random_flip_left_right(image, own_seed)
    return image


def training_batches(paths, labels, image_size, options):
    """Endless batches; the order is a function of the seed and of n alone."""
    count, seed = len(paths), options.seed
    paths, labels = tf.constant(paths), tf.constant(labels)
    is_scaled = any(options.image_size)

    def example(position):
        epoch, place = position // count, position % count
        index = tf.random.experimental.index_shuffle(
            place, tf.stack([seed, epoch]), count - 1
        )
        image = _read(paths[index], image_size, is_scaled)
        own_seed = tf.stack([seed, position + 1])
        return augment(image, own_seed, options.flip), labels[index]

    examples = tf.data.Dataset.counter().map(example, tf.data.AUTOTUNE)
    batches = examples.batch(options.batch_size, drop_remainder=True)
    return batches.prefetch(tf.data.AUTOTUNE)


def predict(network, paths, image_size, options):
    """Logits `[n, classes]` of image files."""
    is_scaled = any(options.image_size)
    images = tf.data.Dataset.from_tensor_slices(paths).map(
        lambda path: _read(path, image_size, is_scaled), tf.data.AUTOTUNE
    )
    return network.predict(images.batch(options.batch_size), verbose=0)


def is_among_best(logits, labels, k):
    """Whether each image's class is among the k best, `[n]` bool."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    # Also of classes whose logits are equal, or NaN, none is found.
    return np.sum(~(logits < own), axis=1) <= k


def optimizer_of(learning_rate, steps):
    """SGD with the schedule of the classifiers."""
    warm_up = max(steps // 18, 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        max(steps - warm_up, 1),
        warmup_target=learning_rate,
        warmup_steps=warm_up,
    )
    # Keras decays weights beside the momentum. In the gradient, as it is meant,
    # 1e-4 would add up to ten times as much.
    optimizer = keras.optimizers.SGD(
        schedule, momentum=0.9, nesterov=True, weight_decay=1e-3
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def train(network, batches, epochs, steps_per_epoch, learning_rate):
    """Trains a network. Returns its last loss."""
    network.compile(
        optimizer_of(learning_rate, epochs * steps_per_epoch),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=_JIT,
    )
    history = network.fit(
        batches,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        shuffle=False,
        callbacks=[keras.callbacks.TerminateOnNaN()],
        verbose=2,
    )
    return history.history["loss"][-1]


def shares(correct, tested_on):
    """How the loss between real images and samples is split.

    Args:
        correct: Whether the class of each held-out image was found, `[n]` bool,
            by what was trained on and tested on; see the module.
        tested_on: What classifiers of other than real images are tested on.

    Returns:
        dict of the mean and its standard error, by `decoder` and `prior`; empty
        if a classifier is missing.
    """
    keys = [
        (REAL, REAL),
        (RECONSTRUCTIONS, tested_on),
        (SAMPLES, tested_on),
    ]
    if not all(key in correct for key in keys):
        return {}
    chain = [correct[key].astype("float64") for key in keys]
    return {
        name: mean_and_error(better - worse)
        for name, (better, worse) in zip(
            ("decoder", "prior"), itertools.pairwise(chain), strict=True
        )
    }


def mean_and_error(values):
    """The mean of `[n]` values and its standard error."""
    return float(np.mean(values)), float(np.std(values) / len(values) ** 0.5)


def per_class(correct, labels, class_names):
    """Lines of a table: each class's top-1 accuracies, empty without images."""
    names = [f"{trained_on}/{tested_on}" for trained_on, tested_on in correct]
    yield ["class", "n", *names]
    for label, name in enumerate(class_names):
        own = labels == label
        values = [
            f"{np.mean(c[own]):.4f}" for c in correct.values() if own.any()
        ]
        yield [name, int(own.sum()), *values]


def describe(correct):
    """Lines that say how the loss between real images and samples is split."""
    for tested_on in TESTED_ON:
        split = shares(correct, tested_on)
        if split:
            first = np.mean(correct[REAL, REAL])
            last = np.mean(correct[SAMPLES, tested_on])
            parts = [f"{x:.4f} ± {e:.4f} {n}" for n, (x, e) in split.items()]
            yield (
                f"top-1 on {tested_on}: {first:.4f} of real images, less "
                f"{', less '.join(parts)}, is {last:.4f} of samples"
            )


class Sets:
    """The images of a comparison, in folders below --output.

    All that can be wrong with them is found before any is written.

    Args:
        options: Values of `FLAGS`.

    Attributes:
        class_names: Names of the run's classes.
        image_size: `(height, width)` that classifiers take.

    Raises:
        UserError: If the run's images have no classes, or something that
            --trained_on asks for is missing.
    """

    def __init__(self, options):
        self._options = options
        run_dir = options.run_dir
        config = folder.read_config(run_dir)
        saved_model = load.find("autoencoder", run_dir, None)
        self._autoencoder = load.Autoencoder(saved_model).fingerprint
        self._real = {
            split: inputs.open_input(
                f"run:{run_dir}@{name}", data_dir=options.data_dir
            )
            for split, name in (("train", "train"), ("held_out", "validation"))
        }
        self.class_names = list(self._real["train"].class_names)
        if not self.class_names:
            raise UserError(
                f"--run_dir={run_dir}: expected a run on images of classes, "
                f"which --dataset={config.dataset} does not have."
            )
        self.image_size = config.image_size
        if any(options.image_size):
            self.image_size = tuple(options.image_size)
        self._needed = {s for t in options.trained_on for s in TRAINED_ON[t]}
        self._samples = self._generator = None
        if SAMPLES not in self._needed:
            return
        if options.samples:
            if not options.samples.startswith("folder:"):
                raise UserError(
                    "--samples: expected folder:DIR, as classifiers need the "
                    f"samples' classes. Received: {options.samples}"
                )
            self._samples = inputs.open_input(
                options.samples, config.image_size, flag="samples"
            )
            labels_of(self._samples, self.class_names)
            return
        self._generator = load.Generator(load.find("generator", run_dir, None))
        if list(self._generator.class_names) != self.class_names:
            raise UserError(
                f"--run_dir={run_dir}: expected priors of the data set's "
                f"{len(self.class_names)} classes. Received: priors of "
                f"{len(self._generator.class_names) or 'none'}"
            )
        self._sampling = self._generator.options_of(vars(config))

    def folder(self, split, name):
        """Folder of a set's images."""
        return os.path.join(self._options.output, split, name)

    def write(self):
        """Writes the images that are missing."""
        for split, images in self._real.items():
            real = self.folder(split, REAL)
            write_images(real, images, self.class_names)
            if split == "held_out" or RECONSTRUCTIONS in self._needed:
                reconstruct.main(
                    [
                        f"--run_dir={self._options.run_dir}",
                        f"--input={os.path.join(real, IMAGES)}",
                        f"--output={self.folder(split, RECONSTRUCTIONS)}",
                    ]
                )
        target = self.folder("train", SAMPLES)
        if self._samples:
            write_images(target, self._samples, self.class_names)
        elif self._generator:
            _, labels = list_images(self.folder("train", REAL))
            counts = np.bincount(labels, minlength=len(self.class_names))
            draw_samples(target, self._generator, self._sampling, counts)

    def identities(self, trained_on):
        """What a classifier's training images are made of; JSON values."""
        found = {REAL: self._real["train"].identity}
        if RECONSTRUCTIONS in TRAINED_ON[trained_on]:
            found[RECONSTRUCTIONS] = self._autoencoder
        if SAMPLES in TRAINED_ON[trained_on]:
            found[SAMPLES] = (
                self._samples.identity
                if self._samples
                else [self._generator.fingerprint, self._sampling]
            )
        return found

    def training(self, trained_on):
        """Paths and labels of a classifier's training images."""
        names = TRAINED_ON[trained_on]
        pairs = [list_images(self.folder("train", name)) for name in names]
        paths, labels = zip(*pairs, strict=True)
        return list(itertools.chain(*paths)), np.concatenate(labels)


class Classifiers:
    """Classifiers of one recipe, each trained once, in OUTPUT/classifiers.

    Args:
        options: Values of `FLAGS`.
        sets: `Sets`.

    Raises:
        UserError: If --classifier names none.
    """

    def __init__(self, options, sets):
        self._options, self._sets = options, sets
        self.name = options.classifier
        if not self.name:
            is_small = min(sets.image_size) < 64
            self.name = "resnet56" if is_small else "resnet50"
        self._arguments = sets.image_size, len(sets.class_names)
        self._make = find_classifier(self.name, *self._arguments)
        accelerator = open_devices("one").accelerator
        self._precision, _ = choose_precision(
            options.precision, accelerator=accelerator
        )

    def recipe(self):
        """What all classifiers have in common; JSON values."""
        options = self._options
        names = ("epochs", "batch_size", "learning_rate", "flip", "seed")
        return {
            "classifier": self.name,
            "image_size": list(self._sets.image_size),
            **{name: getattr(options, name) for name in names},
            "precision": self._precision,
        }

    def trained(self, trained_on, images, steps_per_epoch):
        """A trained classifier.

        Args:
            trained_on: One of `TRAINED_ON`.
            images: Paths and labels of its images.
            steps_per_epoch: Steps that count as an epoch.

        Raises:
            UserError: If the training diverges.
        """
        options = self._options
        target = os.path.join(options.output, "classifiers", trained_on)
        path = os.path.join(target, "classifier.keras")
        settings = {
            **self.recipe(),
            "images": self._sets.identities(trained_on),
        }
        if not os.path.exists(path):
            # Nothing is lost if the recipe is another one now.
            filesystem.remove(os.path.join(target, CARD))
        _claim(target, settings, [os.path.basename(path)])
        keras.utils.set_random_seed(options.seed)
        network = self._new()
        if os.path.exists(path):
            try:
                network.load_weights(path)
            except Exception as error:  # Damage raises any of many types.
                raise UserError(
                    f"{path} is damaged; remove it to train it again."
                ) from error
            return network
        print(f"{trained_on}: {len(images[0]):,} images", flush=True)
        loss = train(
            network,
            training_batches(*images, self._sets.image_size, options),
            options.epochs,
            steps_per_epoch,
            options.learning_rate,
        )
        if not np.isfinite(loss):
            raise UserError(
                f"--learning_rate={options.learning_rate}: the training on "
                f"{trained_on} diverged; give a lower one."
            )
        # Without the optimizer's state.
        plain = self._new()
        plain.set_weights(network.get_weights())
        with atomic.replacing(path) as new:
            plain.save(new)
        return plain

    def _new(self):
        earlier = keras.config.dtype_policy()
        keras.config.set_dtype_policy(dtype_policy(self._precision))
        try:
            network = self._make(*self._arguments)
        finally:
            keras.config.set_dtype_policy(earlier)
        network.jit_compile = _JIT
        return network


def main(arguments):
    """Trains the classifiers, prints what they learned and adds it."""
    options = common.parse(FLAGS, arguments, __doc__)
    if not options.trained_on:
        raise UserError(
            f"--trained_on: expected some of {', '.join(TRAINED_ON)}. "
            "Received: none"
        )
    size = options.image_size
    if len(size) != 2 or any(size) != all(size):
        raise UserError(
            "--image_size: expected HEIGHT,WIDTH. Received: "
            f"{','.join(map(str, size))}"
        )
    atomic.check_writable("output", options.output)
    sets = Sets(options)
    classifiers = Classifiers(options, sets)
    sets.write()
    real, _ = list_images(sets.folder("train", REAL))
    steps_per_epoch = -(-len(real) // options.batch_size)
    ks = {"top1": 1}
    if len(sets.class_names) >= 5:
        ks["top5"] = 5
    correct, rows, table = {}, [], []
    for trained_on in options.trained_on:
        images = sets.training(trained_on)
        network = classifiers.trained(trained_on, images, steps_per_epoch)
        card = {
            "trained_on": trained_on,
            "training_images": len(images[0]),
            "steps": options.epochs * steps_per_epoch,
            **classifiers.recipe(),
        }
        for tested_on in TESTED_ON:
            paths, labels = list_images(sets.folder("held_out", tested_on))
            logits = predict(network, paths, sets.image_size, options)
            line = {"trained on": trained_on, "tested on": tested_on}
            for name, k in ks.items():
                found = is_among_best(logits, labels, k)
                if k == 1:
                    correct[trained_on, tested_on] = found
                accuracy, error = mean_and_error(found)
                line[name] = f"{accuracy:.4f} ± {error:.4f}"
                row = _row(f"cas_{name}", accuracy, error, len(labels))
                rows.append(row | {"tested_on": tested_on, **card})
            table.append({**line, "n": len(labels)})
    for tested_on in TESTED_ON:
        for name, split in shares(correct, tested_on).items():
            row = _row(f"cas_{name}", *split, len(labels))
            rows.append(row | {"tested_on": tested_on, **classifiers.recipe()})
    table_file = io.StringIO()
    csv.writer(table_file).writerows(
        per_class(correct, labels, sets.class_names)
    )
    path = os.path.join(options.output, "per_class.csv")
    atomic.write_text(path, table_file.getvalue())
    metrics = os.path.join(options.output, "metrics.jsonl")
    results.append(metrics, ({**r, "run": options.run_dir} for r in rows))
    print(results.as_table(table, table[0]))
    for text in describe(correct):
        print(text)


def _row(name, value, standard_error, n):
    return {
        "name": name,
        "value": value,
        "standard_error": standard_error,
        "n": n,
        "version": importlib.metadata.version("vqvae2_tf"),
    }

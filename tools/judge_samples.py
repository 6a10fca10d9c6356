"""Judges the demo's samples by a classifier of the real emoji.

    python tools/judge_samples.py --run_dir=runs/emoji
    python tools/judge_samples.py --run_dir=runs/emoji --temperature=0.6,0.4

Draws 50 samples of each of Unicode's nine groups, of a group's subgroups as
often as they are in the split `train`, with the run's own sampling options
unless others are given, and prints as JSON

- `held_out_accuracy`: the classifier's accuracy on the split `valid`;
- `accuracy`, `group_accuracy`: the share of the samples that it puts into the
  group that they were drawn for, of all and of each group's;
- `nearest_mse`, `held_out_nearest_mse`: 5th, 50th and 95th percentile of the
  squared distance of the samples, and of the held-out images, to the nearest
  training image or its mirror image, on the [0, 1] pixel scale. Samples nearer
  than held-out images are would be remembered, not drawn.

Figures compare only if one classifier judged all of them. With --train it is
trained, on the split `train`, and written to --judge, which must not exist.
"""

from vqvae2_tf.commands import cli

if __name__ == "__main__":
    cli.run_script(__file__)

import collections
import hashlib
import json
import os
import pathlib

import keras
import numpy as np

from vqvae2_tf import flags
from vqvae2_tf.data import emoji64
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import shorten
from vqvae2_tf.export import load
from vqvae2_tf.flags import Flag
from vqvae2_tf.runs import folder

JUDGE = os.path.join(os.path.dirname(__file__), "emoji_judge.weights.h5")
EPOCHS = 50
PER_GROUP = 50
FLAGS = [
    Flag("run_dir", None, "Folder of a run on emoji64.", path=True),
    Flag("judge", JUDGE, "The classifier's weights.", path=True),
    Flag("train", False, "Train the classifier."),
    Flag("seed", 0, "Seed of the samples.", 0),
]


def real_images():
    """`{"train": (images, labels), "valid": ...}` and the groups' names."""
    pixels, rows = emoji64.read_images(), emoji64.read_rows()
    groups = list(dict.fromkeys(row["group"] for row in rows))
    splits = {}
    for split in ("train", "valid"):
        own = [i for i, row in enumerate(rows) if row["split"] == split]
        labels = np.array([groups.index(rows[i]["group"]) for i in own])
        splits[split] = pixels[own].astype("float32") / 255.0, labels
    return splits, groups


def make_classifier(num_groups):
    layers = keras.layers

    def block(width, stride):
        return [
            layers.Conv2D(width, 3, stride, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
        ]

    return keras.Sequential(
        [
            keras.Input((emoji64.SIZE, emoji64.SIZE, 3)),
            layers.RandomFlip("horizontal"),
            layers.RandomTranslation(
                0.06, 0.06, fill_mode="constant", fill_value=1.0
            ),
            *block(32, 2),
            *block(64, 2),
            *block(96, 1),
            *block(96, 2),
            *block(128, 2),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.3),
            layers.Dense(num_groups),
        ]
    )


def train(path, images, labels, num_groups):
    keras.utils.set_random_seed(0)
    trained = make_classifier(num_groups)
    batch_size = 32
    steps = EPOCHS * len(images) // batch_size
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    trained.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    trained.fit(images, labels, batch_size, EPOCHS, verbose=2)
    # Without the optimizer's state.
    model = make_classifier(num_groups)
    model.set_weights(trained.get_weights())
    model.save_weights(path)


def is_right(model, images, labels):
    """Whether the classifier says each image's group, `[N]` bool."""
    guesses = np.argmax(model.predict(images, verbose=0), axis=1)
    return guesses == labels


def nearest_mse(images, training):
    """Each image's distance to the nearest training image or its mirror."""
    known = np.concatenate([training, training[:, :, ::-1]])
    known, images = (x.reshape(len(x), -1) for x in (known, images))
    squares = np.sum(known**2, axis=1)[None] - 2.0 * images @ known.T
    squares += np.sum(images**2, axis=1)[:, None]
    return np.min(squares, axis=1) / known.shape[1]


def shares(counts, total):
    """`total` parted in proportion to counts, by the largest remainders."""
    exact = np.asarray(counts) * total / np.sum(counts)
    parts = np.floor(exact).astype(int)
    rest = np.argsort(parts - exact, kind="stable")[: total - parts.sum()]
    parts[rest] += 1
    return parts


def classes_to_draw(class_names):
    """A class and its group for each sample, the groups one after another."""
    rows = [row for row in emoji64.read_rows() if row["split"] == "train"]
    column = "subgroup" if "country-flag" in class_names else "group"
    counts = collections.defaultdict(collections.Counter)
    for row in rows:
        counts[row["group"]][row[column]] += 1
    labels, groups = [], []
    missing = {name for own in counts.values() for name in own}
    missing -= set(class_names)
    if missing:
        raise UserError(
            "--run_dir: expected a run with emoji64's classes. Its generator "
            f"has no {shorten(sorted(missing), 5)}."
        )
    for index, own in enumerate(counts.values()):
        numbers = shares(list(own.values()), PER_GROUP)
        names = np.repeat(list(own), numbers)
        labels += [class_names.index(name) for name in names]
        groups += [index] * PER_GROUP
    return np.array(labels), np.array(groups)


def draw(generator, labels, seed, options):
    """Samples in [0, 1], `[N, 64, 64, 3]`."""
    images = []
    for start in range(0, len(labels), PER_GROUP):
        ids = np.arange(start, start + PER_GROUP)
        codes = generator.sample_codes(labels[ids], seed, ids, options)
        images.append(generator.decode(codes))
    return np.clip(np.concatenate(images) / 2.0 + 0.5, 0.0, 1.0)


def percentiles(values):
    return [round(float(v), 5) for v in np.percentile(values, (5, 50, 95))]


def main(arguments):
    """Trains the classifier, or prints what it says of a run's samples."""
    options, _ = flags.parse(FLAGS, arguments, known_only=True)
    if not options["run_dir"]:
        flags.parse(FLAGS, arguments, __doc__)  # For --help, or an error.
    splits, groups = real_images()
    path = options["judge"]
    if options["train"]:
        if os.path.exists(path):
            raise UserError(f"--judge={path}: it exists, and is trained once.")
        train(path, *splits["train"], len(groups))
    model = make_classifier(len(groups))
    model.load_weights(path)
    digest = hashlib.sha256(pathlib.Path(path).read_bytes())
    report = {
        "judge_sha256": digest.hexdigest(),
        "held_out_accuracy": np.mean(is_right(model, *splits["valid"])),
    }
    if options["run_dir"]:
        saved_model = load.find("generator", options["run_dir"], None)
        generator = load.Generator(saved_model)
        table = [*FLAGS, *generator.sampling_flags]
        values, given = flags.parse(table, arguments, __doc__)
        config = folder.read_config(options["run_dir"])
        sampling = {
            flag.name: values[flag.name]
            if flag.name in given
            else getattr(config, flag.name)
            for flag in generator.sampling_flags
        }
        classes, labels = classes_to_draw(generator.class_names)
        images = draw(generator, classes, options["seed"], sampling)
        right = is_right(model, images, labels)
        known = splits["train"][0]
        report |= {
            **sampling,
            "samples": len(images),
            "accuracy": np.mean(right),
            "group_accuracy": {
                name: np.mean(right[labels == i])
                for i, name in enumerate(groups)
            },
            "nearest_mse": percentiles(nearest_mse(images, known)),
            "held_out_nearest_mse": percentiles(
                nearest_mse(splits["valid"][0], known)
            ),
        }
    print(json.dumps(report, indent=2))

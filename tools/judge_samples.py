"""Judges samples of the demo by a classifier of the real emoji.

    python tools/judge_samples.py tools/emoji_judge.weights.h5
    vqvae2 sample --run_dir=runs/emoji --samples_per_class=50 --output=samples
    python tools/judge_samples.py tools/emoji_judge.weights.h5 samples/images

Without samples the classifier is trained, on the images of the split `train`,
and written to the path, which must not exist: figures compare only if one
classifier judged all of them. With samples, prints as JSON

- `held_out_accuracy`: the classifier's accuracy on the split `valid`;
- `accuracy`, `group_accuracy`: the share of the samples that it puts into the
  group that they were drawn for, of all and of each group's; a sample of a
  subgroup counts for its group;
- `nearest_mse`, `held_out_nearest_mse`: 5th, 50th and 95th percentile of the
  squared distance of the samples, and of the held-out images, to the nearest
  training image or its mirror image, on the [0, 1] pixel scale. Samples nearer
  than held-out images are would be remembered, not drawn.
"""

import hashlib
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import keras
import numpy as np

from vqvae2_tf.data import emoji64
from vqvae2_tf.files.grids import load_image

EPOCHS = 50


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


def train(path, splits, groups):
    keras.utils.set_random_seed(0)
    images, labels = splits["train"]
    trained = make_classifier(len(groups))
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
    model = make_classifier(len(groups))
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


def read_samples(folder, groups):
    """Images of `<folder>/<class>/<index>.png` and the label of each group."""
    # A class's folder is `<label>_<name>`, letters and digits alone.
    own = {}
    for row in emoji64.read_rows():
        for name in (row["group"], row["subgroup"]):
            own[_letters(name)] = groups.index(row["group"])
    images, labels = [], []
    for path in sorted(pathlib.Path(folder).glob("*/*.png")):
        name = _letters(path.parent.name.split("_", 1)[1])
        images.append((load_image(str(path)) + 1.0) / 2.0)
        labels.append(own[name])
    return np.stack(images), np.array(labels)


def _letters(name):
    return "".join(c for c in name if c.isalnum())


def percentiles(values):
    return [round(float(v), 5) for v in np.percentile(values, (5, 50, 95))]


def main(path, *folders):
    splits, groups = real_images()
    if not folders:
        if os.path.exists(path):
            sys.exit(f"error: {path} exists; a judge is trained once.")
        train(path, splits, groups)
    model = make_classifier(len(groups))
    model.load_weights(path)
    held_out = splits["valid"][0]
    report = {
        "judge_sha256": hashlib.sha256(
            pathlib.Path(path).read_bytes()
        ).hexdigest(),
        "held_out_accuracy": float(np.mean(is_right(model, *splits["valid"]))),
    }
    for folder in folders:
        images, labels = read_samples(folder, groups)
        right = is_right(model, images, labels)
        report |= {
            "samples": len(images),
            "accuracy": float(np.mean(right)),
            "group_accuracy": {
                name: round(float(np.mean(right[labels == i])), 3)
                for i, name in enumerate(groups)
                if np.any(labels == i)
            },
            "nearest_mse": percentiles(nearest_mse(images, splits["train"][0])),
            "held_out_nearest_mse": percentiles(
                nearest_mse(held_out, splits["train"][0])
            ),
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The stages of a run: each finds what is finished and goes on from there."""

import json
import math
import os
import types

import keras
import tensorflow as tf
from tqdm import tqdm

from vqvae2_tf import export
from vqvae2_tf.data import code_records
from vqvae2_tf.data import pictures
from vqvae2_tf.data.batches import Examples
from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.batches import picture_examples
from vqvae2_tf.data.batches import training_batches
from vqvae2_tf.data.files import UserError
from vqvae2_tf.data.files import replacing
from vqvae2_tf.data.files import write_text
from vqvae2_tf.models import VQVAE2
from vqvae2_tf.models import PixelSNAIL
from vqvae2_tf.sampling import sample_levels
from vqvae2_tf.training import networks
from vqvae2_tf.training.loop import Plan
from vqvae2_tf.training.loop import fit
from vqvae2_tf.training.precision import choose_precision
from vqvae2_tf.training.precision import dtype_policy

MODEL_FILE = "model.keras"
METRICS_FILE = "metrics.json"
RESULT_FILE = "result.json"
SHARD_EXAMPLES = 4096
_GRID_PICTURES = 16
# Pictures on one device at once, small enough for 1024x1024.
_CODE_BATCH = 16


def check_batch_sizes(
    config: types.SimpleNamespace, strategy: tf.distribute.Strategy
) -> None:
    """Raises `UserError` if the replicas do not divide a batch size."""
    replicas = strategy.num_replicas_in_sync
    sizes = {
        "batch_size": [config.batch_size],
        "prior_batch_size": config.prior_batch_size,
    }
    for flag, values in sizes.items():
        for value in values:
            if value % replicas:
                raise UserError(
                    f"--{flag}: expected a multiple of the {replicas} "
                    f"replicas. Received: {value}"
                )


def run_entries(levels: list[str]) -> list[str]:
    """Names of what a run writes into its folder, its configuration apart.

    Args:
        levels: Names of the run's levels.
    """
    return [
        "autoencoder",
        "codes",
        *(f"prior_{name}" for name in levels),
        "reconstructions.png",
        "samples.png",
        METRICS_FILE,
        "saved_models",
    ]


class Run:
    """One run: a configuration, its data and its folder.

    Args:
        config: From `config.resolve`.
        source: `PictureSource`, prepared.
        strategy: `tf.distribute.Strategy`.
    """

    def __init__(self, config, source, strategy):
        self.config = config
        self.strategy = strategy
        precision, reason = choose_precision(config.precision)
        self._dtype = dtype_policy(precision)
        print(f"precision: {precision}, {reason}", flush=True)
        self.class_names = (
            source.class_names if config.class_conditional else []
        )

        def examples(split, augment=()):
            return picture_examples(
                source,
                split,
                config.image_size,
                config.channels,
                augment,
                config.augmenter,
            )

        self.train = examples("train", config.augment)
        self.validation = examples("validation")
        self._for_codes = examples("train", config.code_augment)

    def path(self, *parts: str) -> str:
        """A path in the run's folder."""
        return os.path.join(self.config.run_dir, *parts)

    def all_stages(self) -> None:
        """Trains, extracts, trains, samples and exports."""
        autoencoder = self.train_autoencoder()
        codes = self.extract_codes(autoencoder)
        priors = [
            self.train_prior(level, codes)
            for level in range(len(self.config.level_names))
        ]
        self.write_metrics()
        self.write_reconstructions(autoencoder)
        self.write_samples(autoencoder, priors)
        self.export(autoencoder, priors)

    def train_autoencoder(self) -> VQVAE2:
        """Stage 1. Returns the autoencoder with its averaged weights."""
        config = self.config
        plan = Plan(
            steps=config.steps,
            batch_size=config.batch_size,
            learning_rate=networks.learning_rate(config),
            polyak_decay=config.polyak_decay,
            seed=config.seed,
            steps_per_call=config.steps_per_loop,
            validate_every=config.validate_every,
        )
        return self._train(
            "autoencoder",
            lambda: networks.make_autoencoder(config, self._dtype),
            self.train,
            self.validation,
            plan,
        )

    def _train(self, name, make_model, train, validation, plan):
        """Trains a network, or loads it if that was done before."""
        model_path = self.path(name, MODEL_FILE)
        if tf.io.gfile.exists(model_path):
            print(f"{name}: finished before, {model_path}", flush=True)
            return keras.saving.load_model(model_path)
        self._remove_results()
        # The same first weights whatever ran before in this process.
        keras.utils.set_random_seed(self.config.seed)
        with self.strategy.scope():
            model = make_model()
        metrics = fit(
            model,
            train,
            validation,
            plan,
            self.path(name),
            self.strategy,
            name,
        )
        write_text(self.path(name, RESULT_FILE), _json(metrics))
        with replacing(model_path) as temporary:
            model.save(temporary)
        print(f"{name}: {_sentence(metrics)}", flush=True)
        return model

    def _remove_results(self):
        """Removes what an earlier network, since removed, had a part in."""
        for name in ("reconstructions.png", "samples.png", METRICS_FILE):
            if tf.io.gfile.exists(self.path(name)):
                tf.io.gfile.remove(self.path(name))
        if tf.io.gfile.exists(self.path("saved_models")):
            tf.io.gfile.rmtree(self.path("saved_models"))

    def write_reconstructions(self, autoencoder: VQVAE2) -> None:
        """Writes reconstructions.png of held-out pictures."""
        path = self.path("reconstructions.png")
        if tf.io.gfile.exists(path):
            return
        batches = evaluation_batches(self.validation, 2 * _GRID_PICTURES)
        batch = next(iter(batches))
        images = batch["image"][: int(tf.reduce_sum(batch["weight"]))]
        restored = keras.ops.convert_to_numpy(
            autoencoder(images)["reconstruction"]
        )
        rows = []
        for start in range(0, len(images), _GRID_PICTURES):
            stop = start + _GRID_PICTURES
            rows += [images[start:stop].numpy(), restored[start:stop]]
        pictures.save_grid(
            path, rows, ["held-out", "restored"] * (len(rows) // 2)
        )

    def extract_codes(self, autoencoder: VQVAE2) -> list[Examples]:
        """Algorithm 2, lines 1 to 7. Returns `(train, validation)` examples."""
        folder = self.path("codes")
        found = networks.fingerprint(autoencoder)
        card = code_records.read_card(folder)
        if card is None:
            card = {
                "map_sizes": self.config.map_sizes,
                "num_codes": self.config.num_codes,
                "class_names": self.class_names,
                "fingerprint": found,
                "splits": {
                    "train": self._write_codes(autoencoder, "train", folder),
                    "validation": self._write_codes(
                        autoencoder, "validation", folder
                    ),
                },
            }
            code_records.write_card(folder, card)
        if card["fingerprint"] != found:
            raise UserError(
                f"{folder} holds codes of another autoencoder "
                f"({card['fingerprint']}, now {found}); start afresh with "
                "--overwrite."
            )
        return [
            code_records.code_examples(folder, card, split)
            for split in ("train", "validation")
        ]

    def _write_codes(self, autoencoder, split, folder):
        """Writes a split's shards. Returns what the card says of them."""
        config = self.config
        examples = self._for_codes if split == "train" else self.validation
        passes = config.code_passes if split == "train" else 1
        rows = self._code_rows(autoencoder, examples, passes, split)
        total = passes * examples.count
        num_shards = math.ceil(total / SHARD_EXAMPLES)
        for index in range(num_shards):
            count = min(SHARD_EXAMPLES, total - index * SHARD_EXAMPLES)
            code_records.write_shard(
                code_records.shard_path(folder, split, index, num_shards),
                (next(rows) for _ in range(count)),
            )
        return {"examples": total, "shards": num_shards}

    def _code_rows(self, autoencoder, examples, passes, split):
        batch_size = _CODE_BATCH
        plain = evaluation_batches(examples, batch_size)
        steps = math.ceil((passes - 1) * examples.count / batch_size)
        augmented = training_batches(
            examples, batch_size, self.config.seed + 1
        ).take(steps)
        encode = tf.function(autoencoder.encode)
        total = passes * examples.count
        with tqdm(total=total, desc=f"codes ({split})", unit="img") as progress:
            for batches in (plain, augmented):
                for batch in batches:
                    codes = [level.numpy() for level in encode(batch["image"])]
                    labels = batch["label"].numpy()
                    kept = len(labels)
                    if "weight" in batch:
                        kept = int(tf.reduce_sum(batch["weight"]))
                    progress.update(kept)
                    for i in range(kept):
                        yield [level[i] for level in codes], labels[i]

    def train_prior(self, level: int, codes: list[Examples]) -> PixelSNAIL:
        """Stage 2 of one level. Returns the prior, its weights averaged.

        Args:
            level: 0 for the top.
            codes: What `extract_codes` returned.
        """
        config = self.config
        plan = Plan(
            steps=config.prior_steps[level],
            batch_size=config.prior_batch_size[level],
            learning_rate=networks.prior_learning_rate(config, level),
            polyak_decay=config.prior_polyak_decay[level],
            seed=config.seed,
            steps_per_call=config.steps_per_loop,
            validate_every=config.validate_every,
        )
        return self._train(
            f"prior_{config.level_names[level]}",
            lambda: networks.make_prior(
                config, level, len(self.class_names), self._dtype
            ),
            *codes,
            plan,
        )

    def write_metrics(self) -> None:
        """Gathers the networks' held-out results into metrics.json."""
        metrics = self._result("autoencoder")
        bits = 0.0
        for name in self.config.level_names:
            result = self._result(f"prior_{name}")
            metrics[f"{name}_nll"] = result["nll"]
            metrics[f"{name}_bits_per_image"] = result["bits_per_image"]
            bits += result["bits_per_image"]
        metrics["bits_per_image"] = bits
        write_text(self.path(METRICS_FILE), _json(metrics))
        print(_json(metrics), flush=True)

    def _result(self, name):
        with tf.io.gfile.GFile(self.path(name, RESULT_FILE)) as file:
            return json.load(file)

    def write_samples(
        self, autoencoder: VQVAE2, priors: list[PixelSNAIL]
    ) -> None:
        """Writes samples.png, one row a class."""
        path = self.path("samples.png")
        if tf.io.gfile.exists(path):
            return
        config = self.config
        per_row = config.samples_per_class
        titles = self.class_names or None
        num_rows = len(titles) if titles else 4

        # XLA runs the sampler's loops about twice as fast as a plain graph.
        @tf.function(jit_compile=True)
        def draw(labels, first_image):
            return sample_levels(
                priors,
                labels=labels,
                batch_size=per_row,
                temperatures=config.temperature,
                seed=config.seed,
                first_image=first_image,
            )

        decode = tf.function(autoencoder.decode)
        rows = [
            decode(
                draw(tf.fill((per_row,), row), tf.constant(row * per_row))
            ).numpy()
            for row in tqdm(range(num_rows), desc="samples", unit="row")
        ]
        pictures.save_grid(path, rows, titles)

    def export(self, autoencoder: VQVAE2, priors: list[PixelSNAIL]) -> None:
        """Writes the SavedModels."""
        folder = self.path("saved_models")
        path = os.path.join(folder, "autoencoder")
        if not tf.io.gfile.exists(path):
            export.export_autoencoder(autoencoder, self.config.image_size, path)
        path = os.path.join(folder, "generator")
        if not tf.io.gfile.exists(path):
            export.export_generator(autoencoder, priors, path, self.class_names)


def _json(values):
    return json.dumps(values, indent=2) + "\n"


def _sentence(metrics):
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())

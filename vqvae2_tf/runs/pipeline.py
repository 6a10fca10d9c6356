"""The stages of a run: each finds what is finished and goes on from there."""

import json
import os

import keras
import tensorflow as tf
from tqdm import tqdm

from vqvae2_tf.export import write as export
from vqvae2_tf.export.compiled_sampler import compile_sampler
from vqvae2_tf.files import provenance as cards
from vqvae2_tf.codes import records as code_records
from vqvae2_tf.files import grids as pictures
from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.batches import image_examples
from vqvae2_tf.errors import UserError
from vqvae2_tf.files.lock import lock
from vqvae2_tf.errors import is_disk_full
from vqvae2_tf.files.atomic import remove
from vqvae2_tf.files.atomic import replacing
from vqvae2_tf.files.atomic import write_text
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.sampling import sample_levels
from vqvae2_tf.runs import networks
from vqvae2_tf.codes.extraction import extract_codes
from vqvae2_tf.training.loop import TrainingPlan
from vqvae2_tf.training.loop import fit
from vqvae2_tf.training.precision import dtype_policy
from vqvae2_tf.training.state import STATE_FILE
from vqvae2_tf.training.summaries import TensorBoard
from vqvae2_tf.training.tensorflow import TensorFlowTrainer
from vqvae2_tf.training.tensorflow import make_evaluation

MODEL_FILE = "model.keras"
METRICS_FILE = "metrics.json"
RESULT_FILE = "result.json"
# Of whose codes a prior is.
ORIGIN_FILE = "origin.json"
_GRID_PICTURES = 16
_SAMPLE_ROWS = 16


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
    """One run: a configuration, its folder, and its data.

    Args:
        config: From `config.resolve`, its precision chosen.
        strategy: `tf.distribute.Strategy`.
        source: `ImageSource`, prepared; None for priors alone.
    """

    def __init__(self, config, strategy, source=None):
        self.config = config
        self.strategy = strategy
        self._source = source
        self._checked = {}
        self._dtype = dtype_policy(config.precision)

    def check(self) -> None:
        """Checks what can be told before any work starts.

        Raises:
            UserError: If the replicas do not divide a batch size, or what the
                stage needs is not there yet.
        """
        config = self.config
        if config.stage != "prior":
            self._check_batch_sizes("batch_size", [config.batch_size])
        if config.stage == "all":
            self._check_batch_sizes("prior_batch_size", config.prior_batch_size)
        if config.stage == "codes":
            self._finished_autoencoder_path()
        if config.stage == "prior":
            level = config.level_names.index(config.level)
            self._check_batch_sizes(
                "prior_batch_size", [config.prior_batch_size[level]]
            )
            self._code_splits(*self._codes())

    def _check_batch_sizes(self, flag, sizes):
        replicas = self.strategy.num_replicas_in_sync
        for size in sizes:
            if size % replicas:
                raise UserError(
                    f"--{flag}: expected a multiple of the {replicas} "
                    f"replicas. Received: {size}"
                )

    def _codes(self, codes_dir=None):
        """Folder and card of the codes that are there."""
        folder = codes_dir or self.config.codes_dir or self.path("codes")
        return folder, code_records.read_card(folder)

    def _code_splits(self, folder, card):
        """`{"<split>": Examples}` of codes, checked once."""
        if folder in self._checked:
            return self._checked[folder]
        for flags, found, expected in (
            ("--image_size and --strides", "map_sizes", self.config.map_sizes),
            ("--num_codes", "num_codes", self.config.num_codes),
        ):
            if json.dumps(card[found]) != json.dumps(expected):
                raise UserError(
                    f"{folder} holds codes of other {flags}: "
                    f"{json.dumps(card[found])} there, {json.dumps(expected)} "
                    "here."
                )
        self._checked[folder] = {
            split: code_records.code_examples(folder, card, split)
            for split in ("train", "validation")
        }
        return self._checked[folder]

    def path(self, *parts: str) -> str:
        """A path in the run's folder."""
        return os.path.join(self.config.run_dir, *parts)

    def _pictures(self, split, augment=()):
        config = self.config
        return image_examples(
            self._source,
            split,
            config.image_size,
            config.channels,
            augment,
            config.augmenter,
        )

    def carry_out(self) -> None:
        """Does the configuration's stage, or all of them.

        Raises:
            UserError: If what the stage needs is not there yet.
        """
        stage, names = self.config.stage, self.config.level_names
        if stage == "prior":
            self.train_prior(names.index(self.config.level), *self._codes())
            return
        if stage == "codes":
            autoencoder = self.finished_autoencoder()
        else:
            autoencoder = self.train_autoencoder()
            self.write_reconstructions(autoencoder)
            self._export_autoencoder(autoencoder)
        if stage == "autoencoder":
            return
        folder = self.path("codes")
        card = self.extract_codes(autoencoder, folder)
        if stage == "codes":
            return
        priors = [
            self.train_prior(level, folder, card) for level in range(len(names))
        ]
        self.write_metrics()
        class_names = self._class_names(card)
        self._export_generator(autoencoder, priors, class_names)
        self.write_samples(autoencoder, priors, class_names)

    def _class_names(self, card):
        return card["class_names"] if self.config.class_conditional else []

    def train_autoencoder(self) -> VQVAE2:
        """Stage 1. Returns the autoencoder with its averaged weights."""
        config = self.config
        plan = TrainingPlan(
            steps=config.steps,
            batch_size=config.batch_size,
            make_optimizer=lambda: keras.optimizers.Adam(
                networks.learning_rate(config)
            ),
            polyak_decay=config.polyak_decay,
            seed=config.seed,
            steps_per_call=config.steps_per_loop,
            validate_every=config.validate_every,
        )
        return self._train(
            "autoencoder",
            lambda: networks.make_autoencoder(config, self._dtype),
            self._pictures("train", config.augment),
            self._pictures("validation"),
            plan,
            ["reconstructions.png", "saved_models"],
        )

    def finished_autoencoder(self) -> VQVAE2:
        """The run's autoencoder.

        Raises:
            UserError: If it is not trained.
        """
        path = self._finished_autoencoder_path()
        with self.strategy.scope():
            return _load_model(path)

    def _finished_autoencoder_path(self):
        path = self.path("autoencoder", MODEL_FILE)
        if not tf.io.gfile.exists(path):
            raise UserError(
                f"{path} is not there: the autoencoder is to be trained first "
                "(--stage=autoencoder, or all)."
            )
        return path

    def _train(self, name, make_model, train, validation, plan, results):
        """Trains a network, or loads it if that was done before.

        `results` are entries of the run's folder that the network has a part
        in; what is left of an earlier one's is removed.
        """
        model_path = self.path(name, MODEL_FILE)
        if not tf.io.gfile.exists(model_path):
            with lock(self.path(name)):
                # Another process may have finished it at this moment.
                if not tf.io.gfile.exists(model_path):
                    return self._train_or_go_on(
                        name, make_model, train, validation, plan, results
                    )
        print(f"{name}: finished before, {model_path}", flush=True)
        with self.strategy.scope():
            return _load_model(model_path)

    def _train_or_go_on(
        self, name, make_model, train, validation, plan, results
    ):
        for entry in (*results, "samples.png", METRICS_FILE):
            remove(self.path(entry))
        # The same first weights whatever ran before in this process.
        keras.utils.set_random_seed(self.config.seed)
        with self.strategy.scope():
            model = make_model()
        print(f"{name}: {model.count_params():,} parameters", flush=True)
        trainer = TensorFlowTrainer(model, train, plan, self.strategy)
        metrics = fit(
            model,
            trainer,
            validation,
            plan,
            self.path(name),
            name,
            TensorBoard(self.path(name, "logs")),
        )
        # As the paper's table 1 has it, training beside validation.
        seen = model.metrics_from_statistics(
            trainer.evaluate(train, plan.batch_size)
        )
        metric = model.selection_metric
        metrics = {**metrics, f"train_{metric}": seen[metric]}
        write_text(self.path(name, RESULT_FILE), _json(metrics))
        with replacing(self.path(name, MODEL_FILE)) as temporary:
            model.save(temporary)
        print(f"{name}: {_sentence(metrics)}", flush=True)
        return model

    def write_reconstructions(self, autoencoder: VQVAE2) -> None:
        """Writes reconstructions.png of held-out pictures."""
        path = self.path("reconstructions.png")
        if tf.io.gfile.exists(path):
            return
        validation = self._pictures("validation")
        batches = evaluation_batches(validation, 2 * _GRID_PICTURES)
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

    def extract_codes(self, autoencoder: VQVAE2, folder: str) -> dict:
        """Algorithm 2, lines 1 to 7. Returns the codes' card.

        Args:
            autoencoder: The trained one.
            folder: That the codes are written to.
        """
        config = self.config
        return extract_codes(
            autoencoder,
            {
                "train": (
                    self._pictures("train", config.code_augment),
                    config.code_passes,
                ),
                "validation": (self._pictures("validation"), 1),
            },
            folder,
            {
                "map_sizes": [list(size) for size in config.map_sizes],
                "num_codes": config.num_codes,
                "class_names": self._source.class_names,
                "pictures": self._source.builder.info.full_name,
                "code_augment": config.code_augment,
                "seed": config.seed,
            },
            self.strategy,
            config.seed,
        )

    def train_prior(self, level: int, folder: str, card: dict) -> PixelSNAIL:
        """Stage 2 of one level. Returns the prior, its weights averaged.

        Args:
            level: 0 for the top.
            folder: Of the codes, complete.
            card: Their card.

        Raises:
            UserError: If the codes are not of this configuration's sizes, or
                the prior was begun with another autoencoder's.
        """
        config = self.config
        splits = self._code_splits(folder, card)
        name = f"prior_{config.level_names[level]}"
        self._claim_prior(
            name,
            card,
            f"give other --codes_dir, or remove {self.path(name)} to train it "
            "anew",
        )
        plan = TrainingPlan(
            steps=config.prior_steps[level],
            batch_size=config.prior_batch_size[level],
            make_optimizer=lambda: keras.optimizers.Adam(
                networks.prior_learning_rate(config, level)
            ),
            polyak_decay=config.prior_polyak_decay[level],
            seed=config.seed,
            steps_per_call=config.steps_per_loop,
            validate_every=config.validate_every,
        )
        num_classes = len(self._class_names(card))
        return self._train(
            name,
            lambda: networks.make_prior(
                config, level, num_classes, self._dtype
            ),
            splits["train"],
            splits["validation"],
            plan,
            ["saved_models/generator"],
        )

    def _claim_prior(self, name, card, advice):
        """Notes whose codes a prior is of; refuses another autoencoder's."""
        cards.claim(
            self.path(name),
            ORIGIN_FILE,
            {
                "fingerprint of the autoencoder": card["fingerprint"],
                "classes": self._class_names(card),
            },
            [self.path(name, MODEL_FILE), self.path(name, STATE_FILE)],
            advice,
        )

    def evaluate_priors(
        self, codes_dir: str | None = None
    ) -> dict[str, dict[str, float]]:
        """NLL of the finished priors, over all codes of both splits.

        Args:
            codes_dir: Folder of the codes, if not the run's own.

        Returns:
            For each level, coarsest first, `train_nll` and `validation_nll`
            in nats a code, `train_bits_per_image` and
            `validation_bits_per_image`.

        Raises:
            UserError: If there are no codes or no prior, or they are of
                different autoencoders.
        """
        config = self.config
        folder, card = self._codes(codes_dir)
        splits = self._code_splits(folder, card)
        self._check_batch_sizes("prior_batch_size", config.prior_batch_size)
        results = {}
        for level, name in enumerate(config.level_names):
            path = self.path(f"prior_{name}", MODEL_FILE)
            if not tf.io.gfile.exists(path):
                continue
            self._claim_prior(
                f"prior_{name}",
                card,
                f"the codes of {folder} are not what it was trained on; give "
                "other --codes_dir",
            )
            with self.strategy.scope():
                model = _load_model(path)
            evaluate = make_evaluation(model, self.strategy)
            results[name] = {
                f"{split}_{metric}": value
                for split, examples in splits.items()
                for metric, value in model.metrics_from_statistics(
                    evaluate(examples, config.prior_batch_size[level])
                ).items()
            }
        if not results:
            raise UserError(
                f"--run_dir={config.run_dir} has no finished prior."
            )
        return results

    def write_metrics(self) -> None:
        """Gathers the networks' held-out results into metrics.json."""
        metrics = self._result("autoencoder")
        bits = 0.0
        for name in self.config.level_names:
            result = self._result(f"prior_{name}")
            metrics[f"{name}_nll"] = result["nll"]
            metrics[f"{name}_train_nll"] = result["train_nll"]
            metrics[f"{name}_bits_per_image"] = result["bits_per_image"]
            bits += result["bits_per_image"]
        metrics["bits_per_image"] = bits
        write_text(self.path(METRICS_FILE), _json(metrics))
        print(_json(metrics), flush=True)

    def _result(self, name):
        path = self.path(name, RESULT_FILE)
        if not tf.io.gfile.exists(path):
            raise UserError(
                f"{path} is not there: it belongs to {MODEL_FILE}, with which "
                "it is to be copied."
            )
        with tf.io.gfile.GFile(path) as file:
            try:
                return json.load(file)
            except ValueError as error:
                raise UserError(
                    f"{path} is damaged; remove {MODEL_FILE} beside it to "
                    "write both anew."
                ) from error

    def write_samples(
        self,
        autoencoder: VQVAE2,
        priors: list[PixelSNAIL],
        class_names: list[str],
    ) -> None:
        """Writes samples.png, a row for each of the first 16 classes."""
        path = self.path("samples.png")
        if tf.io.gfile.exists(path):
            return
        config = self.config
        per_row = config.samples_per_class
        titles = class_names[:_SAMPLE_ROWS] or None
        num_rows = len(titles) if titles else 4

        def draw(batch):
            labels, images = batch
            return sample_levels(
                priors,
                labels=labels,
                temperatures=config.temperature,
                seed=config.seed,
                images=images,
            )

        draw = compile_sampler(draw)
        decode = tf.function(autoencoder.decode)
        labels = tf.repeat(tf.range(num_rows), per_row)
        batches = tf.data.Dataset.from_tensor_slices(
            (labels, tf.range(num_rows * per_row))
        ).batch(per_row)
        rows = [
            decode(draw(batch)).numpy()
            for batch in tqdm(batches, desc="samples", unit="row")
        ]
        pictures.save_grid(path, rows, titles)

    def _export_autoencoder(self, autoencoder):
        path = self.path("saved_models", "autoencoder")
        if not tf.io.gfile.exists(path):
            export.export_autoencoder(autoencoder, self.config.image_size, path)

    def _export_generator(self, autoencoder, priors, class_names):
        path = self.path("saved_models", "generator")
        if not tf.io.gfile.exists(path):
            export.export_generator(autoencoder, priors, path, class_names)


def _load_model(path):
    try:
        return keras.saving.load_model(path)
    except Exception as error:  # Of any kind, as the damage is.
        if is_disk_full(error) or isinstance(
            error, (MemoryError, tf.errors.ResourceExhaustedError)
        ):
            raise  # Then the file may be sound.
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} cannot be loaded; remove it to resume from the "
            f"last training state. {reason}"
        ) from error


def _json(values):
    return json.dumps(values, indent=2) + "\n"


def _sentence(metrics):
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())

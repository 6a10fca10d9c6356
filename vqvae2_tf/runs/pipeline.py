"""The stages of a run: each finds what is finished and resumes from there."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from vqvae2_tf.codes import records
from vqvae2_tf.codes.extraction import extract_codes
from vqvae2_tf.codes.extraction import fingerprint
from vqvae2_tf.data import image_cache
from vqvae2_tf.data.batches import Examples
from vqvae2_tf.data.batches import image_examples
from vqvae2_tf.data.source import ImageSource
from vqvae2_tf.data.source import open_source
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import shorten
from vqvae2_tf.export import write
from vqvae2_tf.export.load import load_decoder
from vqvae2_tf.files import atomic
from vqvae2_tf.files import filesystem
from vqvae2_tf.files import grids
from vqvae2_tf.files import provenance
from vqvae2_tf.files.lock import lock
from vqvae2_tf.runs import earlier
from vqvae2_tf.runs import folder
from vqvae2_tf.runs import initial_weights
from vqvae2_tf.runs import networks
from vqvae2_tf.runs import results
from vqvae2_tf.runs.code_checks import compare_codes
from vqvae2_tf.runs.configuration import MOST_PASSES
from vqvae2_tf.runs.feature_networks import open_network
from vqvae2_tf.runs.redrawing import make_redraw
from vqvae2_tf.runs.redrawing import partial_decoder
from vqvae2_tf.runs.sample_distance import make_sample_distance
from vqvae2_tf.runs.sample_grid import make_sample_grid
from vqvae2_tf.training.devices import Devices
from vqvae2_tf.training.loop import TrainingDivergedError
from vqvae2_tf.training.loop import fit
from vqvae2_tf.training.numerics import NotFiniteError
from vqvae2_tf.training.precision import dtype_policy
from vqvae2_tf.training.state import STATE_FILE
from vqvae2_tf.training.state import steps_taken
from vqvae2_tf.training.summaries import TensorBoard

# So many have their metrics measured at the end of training, beside held-out
# ones: the first ones, which for codes are of images as they are.
_TRAINING_EXAMPLES = 2048
# Records which autoencoder's codes a prior was trained on.
ORIGIN_FILE = "origin.json"
# Of --sample_distance: its weights come with a package.
DISTANCE_NETWORK = "lite0"


def open_images(config) -> ImageSource:
    """The data set of a configuration; see `open_source`.

    Raises:
        UserError: If there is none, or its autoencoder needs no images.
    """
    if not config.needs_images:
        raise UserError(
            f"--autoencoder={config.autoencoder} has no images: its codes are "
            "given."
        )
    return open_source(
        config.dataset,
        config.data_dir,
        config.image_size,
        config.channels,
        config.validation_share,
    )


def read_codes(config, codes_dir: str | None = None) -> tuple[str, dict]:
    """Folder and card of existing codes.

    Args:
        config: A run's configuration.
        codes_dir: The folder, if neither --codes_dir nor the run's own.

    Raises:
        UserError: If they cannot be read.
    """
    codes_dir = codes_dir or config.codes_dir
    codes_dir = codes_dir or os.path.join(config.run_dir, folder.CODES)
    return codes_dir, records.read_card(codes_dir)


def describe_codes(config) -> str:
    """What codes were found, for a user."""
    card = read_codes(config)[1]
    names = card["class_names"]
    classes = f"{len(names)} classes ({shorten(names, 10)})"
    return (
        f"codes: {card['splits']['train']:,} to train on; "
        f"{card['splits']['validation']:,} held out; "
        f"{classes if names else 'no classes'}"
    )


class Run:
    """One run: a configuration, its folder, and its data.

    Args:
        config: `Configuration`, its precision chosen.
        devices: What `open_devices` found.
        source: `ImageSource`, prepared before `run`; None for priors alone.
    """

    def __init__(self, config, devices: Devices, source=None):
        self.config = config
        self.devices = devices
        self._source = source
        self._splits = {}
        self._networks = {}
        self._distance_network = None
        self._dtype = dtype_policy(config.precision)

    def path(self, *parts: str) -> str:
        """A path in the run's folder."""
        return os.path.join(self.config.run_dir, *parts)

    def check(self) -> None:
        """Checks what can be checked before any work starts.

        Raises:
            UserError: If the devices do not share a batch equally, what the
                stage needs does not exist yet, or a finished network cannot be
                trained on.
        """
        config = self.config
        if config.shard_state and keras.backend.backend() != "jax":
            raise UserError("--shard_state needs KERAS_BACKEND=jax.")
        if config.sample_distance == 1:
            raise UserError(
                "--sample_distance: expected 0 or at least 2. Received: 1"
            )
        if config.sample_distance:
            self._open_distance_network()
        if not config.overwrite:
            self._check_longer()
        if config.stage != "prior" and config.needs_images:
            self._check_batch_size("batch_size", config.batch_size)
        if config.stage == "all":
            for index in range(len(config.levels)):
                self._check_prior_batch_size(index)
        if config.stage == "codes":
            self._check_finished(folder.AUTOENCODER)
        if config.stage == "prior":
            self._check_prior_batch_size(config.level_names.index(config.level))
        if config.stage == "prior" or not config.needs_images:
            self._code_splits(*read_codes(self.config))
        if config.stage == "all" and not config.needs_images:
            decoder = self.network(folder.AUTOENCODER).saved_decoder
            if decoder:
                load_decoder(decoder, config.levels)
        if config.init_from:
            card = read_codes(config)[1] if self._source is None else None
            names = card["class_names"] if card else self._source.class_names
            classes = len(names) if config.class_conditional else 0
            initial_weights.check(config, classes, self._is_begun)

    def _check_longer(self):
        """Checks that the codes' autoencoder has as many steps as it should."""
        stage = self.config.stage
        if stage in ("codes", "prior") and self._is_to_go_on(
            folder.AUTOENCODER
        ):
            raise UserError(
                f"{self.path(folder.AUTOENCODER)} has fewer steps than "
                f"--steps={self.config.steps}: train it on first "
                "(--stage=autoencoder), or give --steps as it was."
            )

    def _prior_folders(self):
        return [folder.prior_folder(n) for n in self.config.level_names]

    def _is_begun(self, name):
        """Whether the folder of a network holds anything trained."""
        files = (folder.MODEL_FILE, STATE_FILE)
        return any(tf.io.gfile.exists(self.path(name, f)) for f in files)

    def _check_prior_batch_size(self, index):
        self._check_batch_size(
            "prior_batch_size",
            self.config.prior_batch_size[index],
            self.config.prior_accumulation_steps[index],
        )

    def _check_batch_size(self, flag, size, accumulation_steps=1):
        if size % (self.devices.count * accumulation_steps):
            also = f" times --prior_accumulation_steps={accumulation_steps}"
            raise UserError(
                f"--{flag}: expected a multiple of the {self.devices.count} "
                f"devices{also if accumulation_steps > 1 else ''}. Received: "
                f"{size}"
            )

    def run(self) -> None:
        """Runs the configuration's stage, or all of them.

        Raises:
            UserError: If what the stage needs does not exist yet.
        """
        stage = self.config.stage
        if stage == "prior":
            index = self.config.level_names.index(self.config.level)
            self.train_prior(index, *read_codes(self.config))
            return
        if self.config.needs_images:
            with self._source.damage_reported():
                if stage != "codes":
                    self.train_autoencoder()
                    self._on_the_chief(self._show_autoencoder)
                if stage == "autoencoder":
                    return
                self.extract_codes(self.path(folder.CODES))
            if stage == "codes":
                return
        for index in range(len(self.config.levels)):
            self.train_prior(index, *read_codes(self.config))
        self._on_the_chief(self._show_priors)

    def _on_the_chief(self, work: Callable[[], Any]) -> None:
        """Has the chief do something by itself, while the others wait."""
        if atomic.is_chief:
            work()
        self.devices.barrier()

    def _show_autoencoder(self):
        path = self.path(folder.RECONSTRUCTIONS)
        self._unless_exists(path, self._write_reconstructions)
        path = self.path(folder.EXPORTS, "autoencoder")
        self._unless_exported(path, self.export_autoencoder)

    def _show_priors(self):
        final = map(self.path, folder.FINAL_FILES)
        is_finished = all(map(tf.io.gfile.exists, final))
        metrics = results.gather_metrics(self.config)
        if not is_finished:
            # Before the samples, which may take long.
            atomic.write_json(self.path(folder.METRICS_FILE), metrics)
        generator = self.path(folder.GENERATOR_EXPORT)
        self._unless_exported(generator, self.export_generator)
        if not is_finished:
            self._write_samples(generator, metrics)

    def _write_samples(self, generator, metrics):
        """Draws samples, and adds to the metrics what their codes show."""
        samples = results.draw_samples(generator, self.config)
        held_out = self._code_splits(*read_codes(self.config))["validation"]
        checks = compare_codes(
            samples.codes, held_out, self.config.levels, samples.labels
        )
        if checks:
            print(f"samples: {_in_words(checks)}", flush=True)
        metrics = {**metrics, **checks}
        atomic.write_json(self.path(folder.METRICS_FILE), metrics)
        # Last: without it the samples are drawn again.
        path = self.path(folder.SAMPLES_FILE)
        grids.save_grid(path, samples.rows, samples.titles)

    def _write_reconstructions(self, path):
        autoencoder = self.network(folder.AUTOENCODER)
        images = self._images("validation")
        results.add_ssim(self.config, autoencoder, images)
        results.write_reconstructions(path, autoencoder, images)

    def export(self, path: str) -> list[str]:
        """Writes all SavedModels into a folder, as they are in the run's.

        Returns:
            Their names.
        """
        exports = {"generator": self.export_generator}
        if self.config.needs_images:
            exports = {"autoencoder": self.export_autoencoder, **exports}
        for name, export in exports.items():
            export(os.path.join(path, name))
        return list(exports)

    def export_autoencoder(self, path: str) -> None:
        """Writes the autoencoder's SavedModel, in an earlier one's place."""
        autoencoder = self.network(folder.AUTOENCODER)
        write.export_autoencoder(autoencoder, self.config.image_size, path)

    def export_generator(self, path: str) -> None:
        """Writes the generator's SavedModel, in an earlier one's place."""
        names = map(folder.prior_folder, self.config.level_names)
        priors = [self.network(name) for name in names]
        write.export_generator(
            self.network(folder.AUTOENCODER),
            priors,
            path,
            self._class_names(read_codes(self.config)[1]),
            {
                flag.name: getattr(self.config, flag.name)
                for prior in priors
                for flag in prior.sampling_flags
            },
        )

    def _unless_exists(self, path, make: Callable[[str], None]) -> None:
        if not tf.io.gfile.exists(path):
            make(path)

    def _unless_exported(self, path, make: Callable[[str], None]) -> None:
        # Its last file, where folders are renamed file by file.
        self._unless_exists(
            os.path.join(path, "saved_model.pb"), lambda _: make(path)
        )

    def network(self, name: str) -> keras.Model:
        """A finished network, with its averaged weights.

        An autoencoder that needs no images has none, and is always finished.

        Args:
            name: Name of its folder.

        Raises:
            UserError: If it is not trained, or its file is damaged.
        """
        if name == folder.AUTOENCODER and not self.config.needs_images:
            return networks.make_autoencoder(self.config)
        if name not in self._networks:
            self._check_finished(name)
            path = self.path(name, folder.MODEL_FILE)
            with self.devices.local.scope():
                self._networks[name] = networks.load_model(
                    path, "remove it to resume from the last training state"
                )
        return self._networks[name]

    def _check_finished(self, name):
        if not self.is_finished(name):
            path = self.path(name, folder.MODEL_FILE)
            stage = name if name == folder.AUTOENCODER else "prior"
            raise UserError(
                f"{path} does not exist: train this network first "
                f"(--stage={stage})."
            )

    def is_finished(self, name: str) -> bool:
        """Whether the network of a folder is trained."""
        return tf.io.gfile.exists(self.path(name, folder.MODEL_FILE))

    def _is_to_go_on(self, name):
        """Whether a finished network has fewer steps than the run has now."""
        wanted = self.config.steps
        if name != folder.AUTOENCODER:
            index = self._prior_folders().index(name)
            wanted = self.config.prior_steps[index]
        taken = steps_taken(self.path(name)) if self.is_finished(name) else None
        return taken is not None and taken < wanted

    def _is_to_train(self, name):
        """Whether a network is to be trained, as the chief sees it."""
        is_to_train = not self.is_finished(name) or self._is_to_go_on(name)
        return self.devices.on_any_host(atomic.is_chief and is_to_train)

    def _images(self, split, augment=()):
        config = self.config
        return image_examples(
            self._source,
            split,
            config.image_size,
            config.channels,
            augment,
            config.augmenter,
        )

    def train_autoencoder(self) -> None:
        """Stage 1."""
        splits = {
            "train": self._images("train", self.config.augment),
            "validation": self._images("validation"),
        }
        self._train(
            folder.AUTOENCODER,
            lambda: networks.make_autoencoder(self.config, self._dtype),
            lambda model: networks.training_plan(self.config, model),
            splits,
            [folder.RECONSTRUCTIONS, folder.EXPORTS],
        )

    def _part_with_codes(self):
        """Parts with the codes of an autoencoder that is trained on.

        If priors were trained on them, they are moved, with all that depends on
        the autoencoder as it is, into a run of its own, `steps_<N>`.
        """
        priors = self._prior_folders()
        codes = self.path(folder.CODES)
        with contextlib.ExitStack() as stack:
            # Another process may train a prior, or write codes, at this moment.
            used = [*map(self.path, priors), codes]
            for path in filter(tf.io.gfile.isdir, used):
                stack.enter_context(lock(path))
            if any(map(self._is_begun, priors)):
                earlier.set_aside(self.config)
            elif tf.io.gfile.exists(codes):
                filesystem.remove(codes)
                print(f"{codes}: removed, to be extracted again", flush=True)
            for prior in priors:
                filesystem.remove(self.path(prior, ORIGIN_FILE))

    def train_prior(self, index: int, codes_dir: str, card: dict) -> None:
        """Stage 2 of one level.

        Args:
            index: 0 for the top.
            codes_dir: Folder of the codes, complete.
            card: Their card.

        Raises:
            UserError: If the codes are not of this configuration's levels, or
                the prior was begun with another autoencoder's.
        """
        splits = self._code_splits(codes_dir, card)
        name = folder.prior_folder(self.config.level_names[index])
        self._claim_prior(
            name,
            card,
            f"give other --codes_dir, or remove {self.path(name)} to train it "
            "again",
        )
        classes = len(self._class_names(card))
        self._train(
            name,
            lambda: networks.make_prior(
                self.config, index, classes, self._dtype
            ),
            lambda model: networks.training_plan(self.config, model, index),
            splits,
            [folder.GENERATOR_EXPORT],
            lambda model: self._shown_samples(index, model, splits, card),
        )

    def _shown_samples(self, index, prior, splits, card):
        """What shows and measures samples in training, if it can be done."""
        decode, grid, distance = None, dict, dict
        if self.config.sample_grid or self.config.sample_distance:
            decode = self._decoder_up_to(index, card)
        if not decode:
            if self.config.sample_distance:
                print("no distance: its samples need the codes' autoencoder")
            return grid, distance
        options = {
            flag.name: getattr(self.config, flag.name)[index]
            for flag in prior.sampling_flags
        }
        redraw = make_redraw(prior, self.devices, self.config.seed, options)
        if self.config.sample_grid:
            count = self.config.sample_grid
            grid = make_sample_grid(redraw, splits["validation"], count, decode)
        if self.config.sample_distance:
            examples = splits["train"].first(self.config.sample_distance)
            if examples.count < self.config.sample_distance:
                print(f"the distance is of {examples.count:,} samples")
            network = self._open_distance_network()
            distance = make_sample_distance(redraw, examples, decode, network)
        return grid, distance

    def _open_distance_network(self):
        """The network of --sample_distance, one for all priors."""
        if self._distance_network is None:
            self._distance_network = open_network(DISTANCE_NETWORK)
        return self._distance_network

    def _decoder_up_to(self, index, card):
        """Function of the codes of levels up to one to images, or None."""
        levels = self.config.levels
        if not self.config.needs_images:
            # Decoders from elsewhere need all levels.
            decoder = self.network(folder.AUTOENCODER).saved_decoder
            if not decoder or index + 1 < len(levels):
                return None
            decode = load_decoder(decoder, levels).decode
            return lambda maps: decode(*map(tf.constant, maps)).numpy()
        # Where priors train by themselves there may be the codes alone.
        if not self.is_finished(folder.AUTOENCODER):
            return None
        autoencoder = self.network(folder.AUTOENCODER)
        if fingerprint(autoencoder) != card["fingerprint"]:
            return None
        return partial_decoder(autoencoder, levels)

    def _train(
        self,
        name,
        make_model,
        make_plan,
        splits,
        dependent,
        make_shown=lambda model: (dict, dict),
    ):
        """Trains a network unless it is finished.

        `dependent` are entries of the run's folder that depend on the network;
        what is left of earlier ones is removed. `make_shown` takes the network
        to `further_images` and `further_scalars` of `fit`.
        """
        if self._is_to_train(name):
            with self._locked(name):
                # Another process may have finished it at this moment.
                if self._is_to_train(name):
                    # All hosts have seen what there is.
                    self.devices.barrier()
                    self._on_the_chief(lambda: self._clear(name, dependent))
                    self._train_now(
                        name, make_model, make_plan, splits, make_shown
                    )
                    return
        path = self.path(name, folder.MODEL_FILE)
        print(f"{name}: already finished, {path}", flush=True)

    @contextlib.contextmanager
    def _locked(self, name):
        """Locks a network's folder, for all hosts."""
        with contextlib.ExitStack() as stack:
            if atomic.is_chief:
                stack.enter_context(lock(self.path(name)))
            self.devices.barrier()
            yield

    def _clear(self, name, dependent):
        """Removes what an earlier network, or its training so far, left."""
        if self._is_to_go_on(name):
            print(f"{name}: trained on to more steps", flush=True)
            if name == folder.AUTOENCODER:
                self._part_with_codes()
        for entry in [*dependent, *folder.FINAL_FILES]:
            filesystem.remove(self.path(entry))
        # Last: from here on the network counts as unfinished.
        filesystem.remove(self.path(name, folder.MODEL_FILE))

    def _train_now(self, name, make_model, make_plan, splits, make_shown):
        # The same first weights whatever ran before in this process.
        keras.utils.set_random_seed(self.config.seed)
        with self.devices.scope():
            model = make_model()
        if self.config.init_from and not self._is_begun(name):
            initial_weights.assign(self.config, name, model, self.devices)
        print(f"{name}: {model.count_params():,} parameters", flush=True)
        plan = make_plan(model)
        examples, damage_reported = self._to_train_on(name, splits)
        trainer = self.devices.trainer(model, examples, plan)
        try:
            with damage_reported:
                metrics = fit(
                    model,
                    trainer,
                    splits["validation"],
                    plan,
                    self.path(name),
                    name,
                    TensorBoard(self.path(name, "logs")),
                    *make_shown(model),
                )
        except (TrainingDivergedError, NotFiniteError) as error:
            prefix = "" if name == folder.AUTOENCODER else "prior_"
            of = f"{name}, " if isinstance(error, NotFiniteError) else ""
            steps = steps_taken(self.path(name))
            kept = f"; {self.path(name)} keeps its state at step {steps}"
            raise UserError(
                f"{of}{error}{kept if steps else ''}; give a smaller "
                f"--{prefix}learning_rate and another --run_dir."
            ) from error
        # As the paper's table 1 has it, training beside validation.
        some = splits["train"].first(_TRAINING_EXAMPLES)
        seen = model.metrics_from_statistics(
            trainer.evaluate(some, plan.batch_size)
        )
        metric = model.selection_metric
        metrics = {**metrics, f"train_{metric}": seen[metric]}
        self._on_the_chief(lambda: self._finish(name, model, metrics))
        if self.devices.local is self.devices:
            self._networks[name] = model
        print(f"{name}: {_in_words(metrics)}", flush=True)

    def _finish(self, name, model, metrics):
        """Writes a network that is trained."""
        atomic.write_json(self.path(name, folder.RESULT_FILE), metrics)
        with atomic.replacing(self.path(name, folder.MODEL_FILE)) as temporary:
            model.save(temporary)

    def _to_train_on(self, name, splits):
        """Examples to train a network on, and a context for their reading."""
        config = self.config
        examples, reported = splits["train"], contextlib.nullcontext()
        if name == folder.AUTOENCODER and config.cache_images:
            examples, reported = self._cached_images()
        if config.readers > examples.count:
            raise UserError(
                f"--readers: expected at most the {examples.count} examples to "
                f"train on. Received: {config.readers}"
            )
        return dataclasses.replace(examples, readers=config.readers), reported

    def _cached_images(self):
        config = self.config
        images = (
            self._source,
            config.image_size,
            config.channels,
            config.augment,
        )
        examples = image_cache.cached_examples(*images, config.augmenter)
        cache = image_cache.folder_of(*images)
        return examples, image_cache.damage_reported(cache)

    def extract_codes(self, codes_dir: str) -> dict:
        """Algorithm 2, lines 1 to 7. Returns the codes' card.

        Args:
            codes_dir: Folder that the codes are written to.
        """
        config = self.config
        passes = config.code_passes or self._code_passes(codes_dir)
        return extract_codes(
            self.network(folder.AUTOENCODER),
            {
                "train": (
                    self._images("train", config.code_augment),
                    passes,
                ),
                "validation": (self._images("validation"), 1),
            },
            codes_dir,
            config.levels,
            {
                "class_names": self._source.class_names,
                "images": self._source.builder.info.full_name,
                "code_augment": config.code_augment,
                "seed": config.seed,
            },
            self.devices,
            config.seed,
        )

    def _code_passes(self, codes_dir):
        """Passes over the images to extract codes, where none are given."""
        config = self.config
        count = self._source.num_examples("train")
        if tf.io.gfile.exists(os.path.join(codes_dir, records.CARD)):
            # More steps of a prior need no more codes.
            card = records.read_card(codes_dir)
            return max(card["splits"]["train"] // count, 1)
        if not config.code_augment:
            return 1
        pairs = zip(config.prior_steps, config.prior_batch_size, strict=True)
        seen = max(steps * batch_size for steps, batch_size in pairs)
        return min(math.ceil(seen / count), MOST_PASSES)

    def _code_splits(self, codes_dir, card) -> dict[str, Examples]:
        """Examples of codes by their split, checked once."""
        if card["levels"] != [x.to_json() for x in self.config.levels]:
            raise UserError(
                f"{codes_dir} holds codes of other levels: "
                f"{_describe(card['levels'])} there, "
                f"{_describe(x.to_json() for x in self.config.levels)} here."
            )
        if codes_dir not in self._splits:
            self._splits[codes_dir] = {
                split: records.code_examples(codes_dir, card, split)
                for split in ("train", "validation")
            }
        return self._splits[codes_dir]

    def _class_names(self, card):
        return card["class_names"] if self.config.class_conditional else []

    def _claim_prior(self, name, card, advice):
        """Records whose codes a prior is of; refuses another autoencoder's."""
        provenance.claim(
            self.path(name),
            ORIGIN_FILE,
            {
                "fingerprint of the autoencoder": card["fingerprint"],
                "classes": self._class_names(card),
            },
            [self.path(name, folder.MODEL_FILE), self.path(name, STATE_FILE)],
            advice,
        )

    def evaluate_priors(
        self, codes_dir: str | None = None
    ) -> dict[str, dict[str, float]]:
        """Metrics of the finished priors, over all codes of both splits.

        Args:
            codes_dir: Folder of the codes, if not the run's own.

        Returns:
            For each level, coarsest first, each metric of the prior with
            `train_` and `validation_` before its name: `nll` in nats a code,
            `bits_per_image`; of a prior without a likelihood its own.

        Raises:
            UserError: If there are no codes or no prior, or they are of
                different autoencoders.
        """
        codes_dir, card = read_codes(self.config, codes_dir)
        splits = self._code_splits(codes_dir, card)
        batch_sizes = self.config.prior_batch_size
        metrics = {}
        pairs = zip(self.config.level_names, batch_sizes, strict=True)
        for level, batch_size in pairs:
            batch_size += -batch_size % self.devices.count
            name = folder.prior_folder(level)
            if not self.is_finished(name):
                continue
            self._claim_prior(
                name,
                card,
                f"the prior was not trained on the codes of {codes_dir}; give "
                "other --codes_dir",
            )
            model = self.network(name)
            evaluate = self.devices.evaluation(model)
            metrics[level] = {
                f"{split}_{metric}": value
                for split, examples in splits.items()
                for metric, value in model.metrics_from_statistics(
                    evaluate(examples, batch_size)
                ).items()
            }
        if not metrics:
            raise UserError(f"{self.path()} has no finished prior.")
        return metrics


def _in_words(metrics):
    return ", ".join(f"{key} {value:.4g}" for key, value in metrics.items())


def _describe(levels):
    """Levels in words: "top 8x8 of 256 codes, ..."."""
    return ", ".join(
        f"{level['name']} {level['height']}x{level['width']} of "
        f"{level['num_codes']} codes"
        for level in levels
    )

"""The configuration of a run: all flags, checked before any work starts."""

import importlib.util
import json
import os
import types
from collections.abc import Iterable
from collections.abc import Sequence

from vqvae2_tf import flags
from vqvae2_tf.data import augmentation_names as augmentation
from vqvae2_tf.errors import UserError
from vqvae2_tf.flags import CONDUCT
from vqvae2_tf.flags import LENGTH
from vqvae2_tf.flags import SAMPLES
from vqvae2_tf.flags import Flag
from vqvae2_tf.flags import changed
from vqvae2_tf.level import Level
from vqvae2_tf.runs import networks
from vqvae2_tf.training.precision import PRECISIONS

# Of --code_passes=0.
MOST_PASSES = 10
WEIGHTS = ("best", "last")
# Of one host.
STRATEGIES = ("auto", "one", "mirrored", "tpu")
TPU = Flag(
    "tpu",
    None,
    "Name or grpc:// address of a TPU, or local; by default TPU_NAME's.",
)
STAGES = ("all", "autoencoder", "codes", "prior")

NETWORKS = (
    Flag(
        "autoencoder",
        "vqvae2",
        "Stage 1: a module of vqvae2_tf.autoencoders, or the full path of one "
        "that has a class named Model.",
    ),
    Flag(
        "prior",
        ["pixelsnail"],
        "Stage 2: modules of vqvae2_tf.priors, or the full paths of others.",
        per_level=True,
    ),
)
RUN = changed(
    [
        Flag("run_dir", None, "Folder of the run.", path=True, required=True),
        Flag("data_dir", None, "Folder of TFDS's data sets.", path=True),
        Flag("overwrite", False, "Remove an earlier run in --run_dir first."),
        Flag("dry_run", False, "Print the configuration and stop."),
        Flag("stage", "all", "Which part of the run to do.", choices=STAGES),
        Flag("level", None, "The level of --stage=prior: top, ..., bottom."),
        Flag("codes_dir", None, "Codes to train on.", path=True),
        Flag(
            "strategy",
            "auto",
            "Devices to use.",
            choices=(*STRATEGIES, "multi_worker"),
        ),
        TPU,
        Flag(
            "shard_state",
            False,
            "Keep a part of the averages and of Adam's moments on each device, "
            "where all of them do not fit on one; with KERAS_BACKEND=jax.",
        ),
        Flag(
            "check_numerics",
            False,
            "Stop at the first operation in training whose result is infinite "
            "or NaN, and name it; takes several times as long.",
        ),
        Flag("steps_per_loop", 20, "Training steps in a compiled call.", 1),
        Flag(
            "sample_grid",
            8,
            "Samples of a prior that TensorBoard shows at every validation; 0 "
            "for none.",
            0,
        ),
        Flag(
            "sample_distance",
            0,
            "Samples of a prior whose Fréchet distance TensorBoard shows at "
            "every validation; 0 for none.",
            0,
        ),
    ],
    role=CONDUCT,
)
_RATES = ("constant", "cosine", "paper")
_DECAY = (0.0, 0.9999999)
_CHANGES = {"choices": augmentation.NAMES, "many": True}
IMAGES = (
    Flag(
        "dataset",
        None,
        "The images: a TFDS name, emoji64, ffhq, or folder:PATH.",
    ),
    Flag("image_size", [256], "Pixels: one, or height,width.", 1, many=True),
    Flag("channels", 3, "1 for grey images, 3 for colour.", choices=(1, 3)),
    Flag("validation_share", 0.1, "Share of images held out.", 1e-6, 0.9),
    Flag("augment", [], "Random changes of images in training.", **_CHANGES),
    Flag(
        "augmenter",
        "tf_image",
        "Library of --augment; the operations and ranges are the same.",
        choices=augmentation.AUGMENTERS,
    ),
    Flag(
        "cache_images",
        False,
        "Keep decoded and scaled images in --data_dir, so that stage 1 decodes "
        "each once; their pixels are rounded to 8 bits.",
    ),
    Flag(
        "code_passes",
        0,
        "Passes over the images to extract codes; 0 for as many as the priors "
        f"see, at most {MOST_PASSES}.",
        0,
    ),
    Flag(
        "code_augment",
        [],
        "Random changes after the first pass; by default those of --augment.",
        **_CHANGES,
    ),
    Flag(
        "class_conditional",
        True,
        "Condition the priors on the class, if the data set has classes.",
    ),
)
TRAINING = (
    Flag("seed", 0, "Seed of all random numbers.", 0, 2**31 - 1),
    Flag(
        "precision",
        "auto",
        "Arithmetic of the networks; auto is bfloat16 where it is faster.",
        choices=PRECISIONS,
    ),
    Flag(
        "weights",
        "best",
        "Averaged weights that a trained network keeps: of the best validation "
        "or the last.",
        choices=WEIGHTS,
    ),
    Flag(
        "init_from",
        None,
        "Networks start from the weights of this run, or of this .keras file.",
        path=True,
    ),
    Flag(
        "freeze",
        [],
        "Parts of the autoencoder that stay as --init_from has them: encoder, "
        "codebook, decoder.",
        many=True,
    ),
    Flag("validate_every", 1000, "Steps between validations and saves.", 1),
    Flag(
        "readers",
        1,
        "Equal parts in which training reads its examples side by side, each "
        "shuffled by itself; of as many hosts each reads one part alone.",
        1,
    ),
    Flag("batch_size", 128, "Stage-1 batch size over all devices.", 1),
    Flag("steps", 2_207_444, "Training steps of stage 1.", 1, role=LENGTH),
    Flag("learning_rate", 2e-4, "Adam's learning rate in stage 1.", 0.0),
    Flag("adam_beta_1", 0.9, "Decay of Adam's gradients.", *_DECAY),
    Flag("adam_beta_2", 0.999, "Decay of Adam's squared gradients.", *_DECAY),
    Flag(
        "schedule",
        "constant",
        "Schedule of --learning_rate.",
        choices=_RATES[:2],
    ),
    Flag(
        "warm_up_steps",
        0,
        "Steps in which --schedule=cosine rises to the rate; 0 for 2 % of all.",
        0,
    ),
    Flag("polyak_decay", 0.9999, "Decay of the weights' averages.", *_DECAY),
    Flag(
        "prior_schedule",
        "paper",
        "Schedule of --prior_learning_rate.",
        choices=_RATES,
    ),
    *changed(
        [
            Flag("prior_batch_size", 512, "Batch size over all devices.", 1),
            Flag(
                "prior_accumulation_steps",
                1,
                "Parts of a batch that a device computes one after another, "
                "where the whole does not fit.",
                1,
                role=CONDUCT,
            ),
            Flag(
                "prior_steps",
                754_000,
                "Training steps of a prior.",
                1,
                role=LENGTH,
            ),
            Flag(
                "prior_learning_rate",
                0.18,
                "Highest learning rate, or c of the paper's schedule.",
                0.0,
            ),
            Flag("prior_adam_beta_1", 0.9, "As --adam_beta_1.", *_DECAY),
            Flag("prior_adam_beta_2", 0.999, "As --adam_beta_2.", *_DECAY),
            Flag("prior_warm_up_steps", 0, "As --warm_up_steps.", 0),
            Flag("prior_polyak_decay", 0.9999, "Decay of averages.", *_DECAY),
        ],
        per_level=True,
    ),
    *changed(
        [
            Flag("samples_per_class", 8, "Samples of each class.", 1),
            Flag(
                "sample_classes",
                [],
                "Classes that samples.png shows; if none, at most 16, evenly "
                "spaced.",
                many=True,
            ),
        ],
        role=SAMPLES,
    ),
)
COMMON = (*NETWORKS, *RUN, *IMAGES, *TRAINING)
# Names that a network's flags cannot have; the last line's are of the verb
# `sample`, which takes the sampling options too.
_TAKEN = {
    *(flag.name for flag in COMMON),
    *("levels", "data_version"),
    *("saved_model", "output", "classes", "count", "keep_codes"),
}


class Configuration(types.SimpleNamespace):
    """A value for each flag, lists where there is one a level; frozen.

    Besides: `levels`, the autoencoder's `Level`s for `image_size`, a pair; and
    `data_version`, which names the prepared images, None if not known yet.
    """

    def __setattr__(self, name, value):
        raise AttributeError("A configuration is frozen; use `replace`.")

    def replace(self, **changes) -> "Configuration":
        """The configuration with changes."""
        return Configuration(**{**vars(self), **changes})

    def to_json(self) -> str:
        """JSON text, one flag a line."""
        values = {
            **vars(self),
            "levels": [level.to_json() for level in self.levels],
        }
        lines = [
            f"  {json.dumps(name)}: {json.dumps(value)}"
            for name, value in sorted(values.items())
        ]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @property
    def level_names(self) -> list[str]:
        """Names of the levels, coarsest first."""
        return [level.name for level in self.levels]

    @property
    def needs_images(self) -> bool:
        """Whether the autoencoder is trained on images."""
        return networks.find("autoencoder", self.autoencoder).needs_images


def flag_table(autoencoder: str, priors: Iterable[str]) -> list[Flag]:
    """All flags of a run with these networks.

    Args:
        autoencoder: Value of `--autoencoder`.
        priors: Values of `--prior`.

    Raises:
        UserError: If there is no such network.
    """
    own = list(networks.find("autoencoder", autoencoder).FLAGS)
    for name in priors:
        prior = networks.find("prior", name)
        own += networks.prior_flags(prior)
        own += networks.sampling_flags(prior)
    names = [flag.name for flag in own if flag.name in _TAKEN]
    if names:
        raise UserError(
            f"--{names[0]} is a flag of every run: the network's flag needs "
            "another name."
        )
    return [*COMMON, *own]


def parse(
    arguments: Sequence[str], usage: str = "", extra: Iterable[Flag] = ()
) -> Configuration:
    """The configuration of a run, from a command line that is checked.

    Args:
        arguments: Without the program's name, flagfiles expanded.
        usage: What `--help` prints before the flags.
        extra: Further flags.

    Raises:
        UserError: Naming the flag, what was expected and what was received.
    """
    # First the networks, since their flags depend on them.
    systems, _ = flags.parse(NETWORKS, arguments, known_only=True)
    own = flag_table(systems["autoencoder"], systems["prior"])
    table = [*extra, *own]
    networks.check_no_others_flags(arguments, table)
    values, given = flags.parse(table, arguments, usage)
    size = values["image_size"]
    if len(size) not in (1, 2):
        raise UserError(
            "--image_size: expected one number, or height,width. Received: "
            f"{','.join(map(str, size))}"
        )
    values["image_size"] = (size[0], size[-1])
    if "code_augment" not in given:
        values["code_augment"] = values["augment"]
    values["dataset"] = _dataset(values["dataset"] or "", systems)
    for flag in own:
        # The run's own may be moved; the others are found from anywhere.
        if flag.path and values[flag.name] and flag.name != "run_dir":
            values[flag.name] = _absolute(values[flag.name])
    config = Configuration(**values, levels=[], data_version=None)
    config = config.replace(levels=networks.levels(config))
    config = _one_a_level(config, table, given)
    _check(config)
    networks.check(config)
    return config


def _dataset(dataset, systems):
    """The data set's name; "" if there is none, and none is needed."""
    folder = os.path.expanduser(dataset.removeprefix("folder:"))
    if dataset and not folder:
        raise UserError("--dataset=folder: names no folder.")
    model = networks.find("autoencoder", systems["autoencoder"])
    if not dataset and model.needs_images:
        raise UserError("--dataset must be given.")
    if dataset.startswith("folder:"):
        return f"folder:{_absolute(folder)}"
    return dataset


def _absolute(path):
    """The same text for the same local path, however it is written."""
    return path if "://" in path else os.path.abspath(path)


def from_json(values: dict) -> Configuration:
    """The configuration of an earlier run: its values over the defaults.

    A flag that is newer than the run has its default, so that it never makes
    the run unusable.

    Args:
        values: What `to_json` wrote.
    """
    table = flag_table(values["autoencoder"], values["prior"])
    # What runs did before they had the flag.
    values = {"weights": "last", **values}
    levels = [Level.of(level) for level in values["levels"]]
    defaults = {flag.name: flag.default for flag in table}
    config = Configuration(**{**defaults, **values, "levels": levels})
    config = config.replace(image_size=tuple(config.image_size))
    return _one_a_level(config, table, set(values))


def _one_a_level(config, table, given):
    """The configuration with one value a level where there may be one."""
    names = config.level_names
    flags_by_name = {flag.name: flag for flag in table if flag.per_level}
    priors = flags_by_name["prior"].spread(config.prior, names)
    defaults = networks.prior_defaults(priors)
    values = vars(config) | {
        name: default for name, default in defaults.items() if name not in given
    }
    return config.replace(
        **{n: f.spread(values[n], names) for n, f in flags_by_name.items()}
    )


def _check(config):
    """Checks what concerns several flags."""
    for flag in ("augment", "code_augment"):
        names = getattr(config, flag)
        grey = [n for n in names if n in augmentation.NEEDS_COLOUR]
        if config.channels == 1 and grey:
            raise UserError(f"--{flag}={grey[0]} needs --channels=3.")
        if "shift" in names and min(config.image_size) <= augmentation.SHIFT:
            raise UserError(
                f"--{flag}=shift needs an --image_size above "
                f"{augmentation.SHIFT}."
            )
    if config.augmenter == "keras_cv" and not importlib.util.find_spec(
        "keras_cv"
    ):
        raise UserError(
            "--augmenter=keras_cv needs the package keras-cv; install it with "
            "pip install 'keras-cv<0.10', or leave the flag out."
        )
    for prefix in ("", "prior_"):
        _check_warm_up(config, prefix)
    sizes, parts = config.prior_batch_size, config.prior_accumulation_steps
    for size, count in zip(sizes, parts, strict=True):
        if size % count:
            raise UserError(
                "--prior_accumulation_steps: expected a divisor of "
                f"--prior_batch_size={size}. Received: {count}"
            )
    for flag, sizes in (
        ("batch_size", [config.batch_size]),
        ("prior_batch_size", config.prior_batch_size),
    ):
        for size in sizes:
            if size % config.readers:
                raise UserError(
                    f"--readers: expected a divisor of --{flag}={size}. "
                    f"Received: {config.readers}"
                )
    if config.freeze and not config.init_from:
        raise UserError(
            "--freeze needs --init_from: without it the frozen parts would "
            "stay as random as they begin."
        )
    if config.stage == "prior" and config.level not in config.level_names:
        raise UserError(
            "--level: with --stage=prior, expected one of "
            f"{', '.join(config.level_names)}. Received: {config.level}"
        )
    if not config.needs_images:
        _check_without_images(config)
    for flag in ("level", "codes_dir") if config.needs_images else ("level",):
        if config.stage != "prior" and getattr(config, flag):
            raise UserError(f"--{flag} needs --stage=prior.")
    if config.overwrite and config.stage != "all":
        raise UserError(
            "--overwrite removes a whole run and needs --stage=all; to repeat "
            "a stage remove its folder (autoencoder, codes, prior_top, ...)."
        )


def _check_without_images(config):
    """Checks that there is nothing to do but to train priors on codes."""
    system = f"--autoencoder={config.autoencoder}"
    if config.stage not in ("all", "prior"):
        raise UserError(
            f"--stage: with {system}, which is not trained, expected all or "
            f"prior. Received: {config.stage}"
        )
    if not config.codes_dir:
        raise UserError(
            f"--codes_dir must be given with {system}: the codes to train on."
        )


def _check_warm_up(config, prefix):
    """Checks that the learning rate can rise for so many steps."""
    flag = f"{prefix}warm_up_steps"
    warm_ups, steps = getattr(config, flag), getattr(config, f"{prefix}steps")
    if not prefix:
        warm_ups, steps = [warm_ups], [steps]
    if not any(warm_ups):
        return
    schedule = f"{prefix}schedule"
    if getattr(config, schedule) != "cosine":
        raise UserError(f"--{flag} needs --{schedule}=cosine.")
    for warm_up, total in zip(warm_ups, steps, strict=True):
        if warm_up >= total:
            raise UserError(
                f"--{flag}: expected fewer than --{prefix}steps={total}. "
                f"Received: {warm_up}"
            )

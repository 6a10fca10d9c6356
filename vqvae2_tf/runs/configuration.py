"""The flags of a run, checked and resolved before any work starts."""

import importlib.util
import json
import math
import os
import types
from collections.abc import Callable

from absl import flags

from vqvae2_tf.data import augmentation
from vqvae2_tf.errors import UserError
from vqvae2_tf.data.source import ImageSource
from vqvae2_tf.data.source import open_source
from vqvae2_tf.level import latent_map_sizes
from vqvae2_tf.level import level_names
from vqvae2_tf.training.precision import PRECISIONS
from vqvae2_tf.training.strategy import STRATEGIES

SCHEDULES = ("constant", "cosine", "paper")
STAGES = ("all", "autoencoder", "codes", "prior")

# Name, default, lowest value, highest value, help. The default's type is the
# flag's.
_NUMBERS = [
    ("seed", 0, 0, 2**31 - 1, "Seed of everything."),
    ("channels", 3, 1, 3, "Of the pictures: 1 (grey) or 3 (colour)."),
    (
        "validation_share",
        0.1,
        1e-6,
        0.9,
        "Share held out if the data set has no split for that.",
    ),
    ("steps_per_loop", 20, 1, None, "Steps in one compiled call."),
    (
        "validate_every",
        1000,
        1,
        None,
        "Steps between validations, and between saved states.",
    ),
    ("hidden_units", 128, 2, None, "Width of encoders and decoders."),
    ("residual_units", 64, 1, None, "Inner width of residual stacks."),
    ("residual_layers", 2, 0, None, "Layers of a residual stack."),
    ("num_codes", 512, 2, 65536, "K, codes of each level."),
    ("code_dim", 64, 1, None, "D, width of a code."),
    ("commitment_cost", 0.25, 0.0, None, "Beta of equation 2."),
    ("ema_decay", 0.99, 0.0, 0.999999, "Of the codebooks."),
    (
        "restart_after",
        0,
        0,
        None,
        "Unused steps after which a code is drawn anew; 0: never.",
    ),
    (
        "level_dropout",
        0.0,
        0.0,
        0.99,
        "Share of pictures trained on their coarser levels alone.",
    ),
    (
        "level_dropout_steps",
        0,
        0,
        None,
        "Steps in which --level_dropout falls to 0; 0: it stays.",
    ),
    ("batch_size", 128, 1, None, "Of stage 1, over all devices."),
    ("steps", 2_207_444, 1, None, "Training steps of stage 1."),
    ("learning_rate", 2e-4, 0.0, None, "Of stage 1's Adam."),
    ("polyak_decay", 0.9999, 0.0, 0.9999999, "Of stage 1's weights."),
    (
        "code_passes",
        1,
        1,
        None,
        "Passes over the training pictures when codes are extracted.",
    ),
    ("samples_per_class", 8, 1, None, "Pictures in a row of samples.png."),
]

# The same for flags that take one value, or one a level.
_LEVEL_NUMBERS = [
    ("prior_hidden_units", [512], 1, None, "width"),
    ("prior_residual_units", [1024], 1, None, "inner width"),
    ("prior_layers", [20], 1, None, "gated layers"),
    ("prior_attention_every", [5], 0, None, "layers an attention; 0: none"),
    ("prior_heads", [8], 1, None, "attention heads"),
    ("prior_kernel_size", [5], 3, None, "of the causal convolutions, odd"),
    ("prior_second_kernel_size", [1], 1, None, "of gated layers' second one"),
    ("prior_dropout", [0.1], 0.0, 0.99, "dropout rate"),
    ("prior_output_layers", [0], 0, None, "1x1 gated layers at the end"),
    ("prior_conditioning_blocks", [20], 0, None, "of the conditioning stack"),
    ("prior_conditioning_units", [1024], 4, None, "its width"),
    ("prior_batch_size", [512], 1, None, "over all devices"),
    ("prior_steps", [754_000], 1, None, "training steps"),
    (
        "prior_learning_rate",
        [0.18],
        0.0,
        None,
        "the peak, or c of the paper's schedule",
    ),
    ("prior_polyak_decay", [0.9999], 0.0, 0.9999999, "of the weights"),
    ("temperature", [1.0], 1e-3, 100.0, "of sampling"),
]


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of a run; defaults are near the paper's ImageNet.

    Args:
        flag_values: Where they are defined.
    """

    def define(kind, name, default, *rest, **bounds):
        # Constructor names are absl's: DEFINE_string, DEFINE_list, ...
        getattr(flags, f"DEFINE_{kind}")(
            name, default, *rest, flag_values=flag_values, **bounds
        )

    define(
        "string",
        "dataset",
        None,
        "A TFDS name, emoji64, ffhq, or folder:PATH.",
    )
    define("string", "data_dir", None, "Where TFDS keeps its data sets.")
    define("string", "run_dir", None, "Folder that everything is written to.")
    define("boolean", "overwrite", False, "Start afresh in --run_dir.")
    define("boolean", "dry_run", False, "Print what would run, and stop.")
    define("enum", "stage", "all", STAGES, "What to do of a run.")
    define("string", "level", None, "Of --stage=prior: top, middle or bottom.")
    define(
        "string",
        "codes_dir",
        None,
        "Of --stage=prior: the folder of the codes, if not RUN_DIR/codes.",
    )
    define("enum", "strategy", "auto", STRATEGIES, "Devices to use.")
    define(
        "enum",
        "precision",
        "auto",
        PRECISIONS,
        "Of the networks' arithmetic; auto: bfloat16 where it is faster.",
    )
    define("list", "image_size", "256", "Pixels: a number, or height,width.")
    define(
        "list",
        "strides",
        "4,2",
        "Factors from the pixels to the bottom map, to the next coarser, ...",
    )
    define(
        "list",
        "augment",
        [],
        f"In training: of {', '.join(augmentation.NAMES)}.",
    )
    define(
        "list",
        "code_augment",
        [],
        "The same for the second and later of --code_passes.",
    )
    define(
        "enum",
        "augmenter",
        "tf_image",
        augmentation.AUGMENTERS,
        "What augments: the same operations in the same ranges.",
    )
    define("enum", "schedule", "constant", SCHEDULES[:2], "Of learning_rate.")
    define(
        "enum", "prior_schedule", "paper", SCHEDULES, "Of prior_learning_rate."
    )
    define(
        "boolean",
        "class_conditional",
        True,
        "Priors are told the class, if any.",
    )
    define(
        "boolean",
        "prior_rematerialize",
        False,
        "Recompute gated layers in the backward pass: less memory, up to a "
        "third more time.",
    )
    for name, default, low, high, text in _NUMBERS:
        kind = "integer" if isinstance(default, int) else "float"
        define(kind, name, default, text, lower_bound=low, upper_bound=high)
    for name, default, _, _, text in _LEVEL_NUMBERS:
        text = f"One value, or one a level, coarsest first: {text}."
        define("list", name, [str(value) for value in default], text)


def resolve(values: Callable[[str], object]) -> types.SimpleNamespace:
    """Checks the flags' values and makes a run's configuration of them.

    Args:
        values: Function of a flag's name to its value.

    Returns:
        `types.SimpleNamespace` with one entry a flag. `image_size` is
        `(height, width)`, per-level flags are lists, coarsest first, and
        `level_names` and `map_sizes` are there too.

    Raises:
        UserError: Naming the flag, what was expected and what was received.
    """
    config = types.SimpleNamespace()
    for name in ("dataset", "run_dir"):
        if not values(name):
            raise UserError(f"--{name} must be given.")
    for name in (
        "dataset",
        "data_dir",
        "run_dir",
        "strategy",
        "precision",
        "overwrite",
        "dry_run",
        "stage",
        "level",
        "codes_dir",
        "augment",
        "code_augment",
        "augmenter",
        "schedule",
        "prior_schedule",
        "class_conditional",
        "prior_rematerialize",
        *(row[0] for row in _NUMBERS),
    ):
        setattr(config, name, values(name))
    for name, *_ in _NUMBERS:
        if not math.isfinite(getattr(config, name)):
            raise UserError(
                f"--{name}: expected a finite number. Received: "
                f"{getattr(config, name)}"
            )
    for name in ("run_dir", "data_dir", "codes_dir"):
        if getattr(config, name):
            setattr(config, name, os.path.expanduser(getattr(config, name)))
    folder = os.path.expanduser(config.dataset.removeprefix("folder:"))
    if config.dataset.startswith("folder:") and "://" not in folder:
        # The same folder is the same data set however it is written.
        config.dataset = f"folder:{os.path.abspath(folder)}"

    size = _numbers("image_size", values("image_size"), int, 1, None)
    if len(size) > 2:
        raise UserError(
            "--image_size: expected one number, or height,width. Received: "
            f"{','.join(map(str, size))}"
        )
    config.image_size = (size[0], size[-1])
    config.strides = _numbers("strides", values("strides"), int, 2, None)
    for stride in config.strides:
        if stride & (stride - 1):
            raise UserError(
                f"--strides: expected powers of two. Received: {stride}"
            )
    try:
        config.map_sizes = latent_map_sizes(config.image_size, config.strides)
    except ValueError as error:
        raise UserError(f"--image_size and --strides: {error}") from error
    config.level_names = level_names(len(config.strides))

    _check_stage(config)

    if config.channels == 2:
        raise UserError("--channels: expected 1 or 3. Received: 2")
    for flag in ("augment", "code_augment"):
        _check_augmentation(flag, getattr(config, flag), config)
    if config.augmenter == "keras_cv" and not importlib.util.find_spec(
        "keras_cv"
    ):
        raise UserError(
            "--augmenter=keras_cv needs the package keras-cv; install it with "
            "pip install 'keras-cv<0.10', or leave the flag out."
        )
    for name, default, low, high, _ in _LEVEL_NUMBERS:
        numbers = _numbers(name, values(name), type(default[0]), low, high)
        setattr(config, name, _one_a_level(name, numbers, config.level_names))
    _check_priors(config)
    return config


def _numbers(flag, texts, kind: Callable, low, high):
    expected = "a whole number" if kind is int else "a number"
    expected += f", at least {low}" + (f", at most {high}" if high else "")
    numbers = []
    for text in texts:
        try:
            number = kind(text)
        except ValueError:
            number = None
        if (
            number is None
            or not math.isfinite(number)
            or not low <= number
            or (high and number > high)
        ):
            raise UserError(
                f"--{flag}: expected {expected}. Received: {text!r}"
            )
        numbers.append(number)
    if not numbers:
        raise UserError(f"--{flag}: expected {expected}. Received nothing.")
    return numbers


def _one_a_level(flag, numbers, names):
    if len(numbers) == 1:
        return numbers * len(names)
    if len(numbers) != len(names):
        raise UserError(
            f"--{flag}: expected one value, or one for each of "
            f"{', '.join(names)}. Received: {','.join(map(str, numbers))}"
        )
    return numbers


def _check_stage(config):
    if config.stage == "prior":
        if config.level not in config.level_names:
            raise UserError(
                "--level: with --stage=prior, expected one of "
                f"{', '.join(config.level_names)}. Received: {config.level}"
            )
    elif config.level or config.codes_dir:
        flag = "level" if config.level else "codes_dir"
        raise UserError(f"--{flag} is for --stage=prior alone.")
    if config.overwrite and config.stage != "all":
        raise UserError(
            "--overwrite removes a whole run, and needs --stage=all; to do a "
            "part anew remove its folder (autoencoder, codes, prior_top, ...)."
        )


def _check_augmentation(flag, names, config):
    for name in names:
        if name not in augmentation.NAMES:
            raise UserError(
                f"--{flag}: expected of {', '.join(augmentation.NAMES)}. "
                f"Received: {name}"
            )
        if config.channels == 1 and name in augmentation.NEEDS_COLOUR:
            raise UserError(f"--{flag}={name} needs --channels=3.")
        if name == "shift" and min(config.image_size) <= augmentation.SHIFT:
            raise UserError(
                f"--{flag}=shift needs an --image_size above "
                f"{augmentation.SHIFT}."
            )


def _check_priors(config):
    for level, name in enumerate(config.level_names):
        for flag in ("prior_kernel_size", "prior_second_kernel_size"):
            if getattr(config, flag)[level] % 2 == 0:
                raise UserError(
                    f"--{flag}: expected an odd number for {name}. Received: "
                    f"{getattr(config, flag)[level]}"
                )
        every = config.prior_attention_every[level]
        if every > config.prior_layers[level]:
            raise UserError(
                f"--prior_attention_every: expected at most --prior_layers "
                f"({config.prior_layers[level]}) for {name}, or 0 for no "
                f"attention. Received: {every}"
            )
        heads = config.prior_heads[level]
        width = config.prior_hidden_units[level]
        if every and width % heads:
            raise UserError(
                f"--prior_heads: expected a divisor of --prior_hidden_units "
                f"({width}) for {name}. Received: {heads}"
            )


def open_pictures(config: types.SimpleNamespace) -> ImageSource:
    """The data set of a configuration; see `open_source`."""
    return open_source(
        config.dataset,
        config.data_dir,
        config.image_size,
        config.channels,
        config.validation_share,
    )


def printable(config: types.SimpleNamespace) -> str:
    """The configuration as JSON text, one flag a line."""
    lines = [
        f"  {json.dumps(name)}: {json.dumps(value)}"
        for name, value in sorted(vars(config).items())
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"

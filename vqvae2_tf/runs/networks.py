"""The networks of a configuration, found by the names that flags give."""

import collections
import concurrent.futures
import contextlib
import functools
import re
import zipfile
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import keras

from vqvae2_tf import autoencoders
from vqvae2_tf import priors
from vqvae2_tf.autoencoders.base import Autoencoder
from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import is_disk_full
from vqvae2_tf.errors import is_out_of_memory
from vqvae2_tf.errors import one_line
from vqvae2_tf.files import filesystem
from vqvae2_tf.flags import GENERATOR
from vqvae2_tf.flags import Flag
from vqvae2_tf.flags import changed
from vqvae2_tf.level import Level
from vqvae2_tf.priors.base import Prior
from vqvae2_tf.runs import modules
from vqvae2_tf.trainable import Trainable
from vqvae2_tf.training.plan import TrainingPlan
from vqvae2_tf.training.schedules import PriorSchedule
from vqvae2_tf.training.schedules import cosine_schedule

_PREFIX = "prior_"
_ROOMS = {
    "autoencoder": (autoencoders, Autoencoder),
    "prior": (priors, Prior),
}


def find(flag: str, name: str) -> type[Trainable]:
    """The class that `--autoencoder` or `--prior` names: a module's `Model`.

    Args:
        flag: `autoencoder` or `prior`.
        name: Of a module of the package, or with a dot any module's full path;
            it may be in the working directory.

    Raises:
        UserError: If there is no such module, or no `Model` in it.
    """
    return modules.find(flag, *_ROOMS[flag], name)


def prior_flags(prior: type[Prior]) -> list[Flag]:
    """A prior's flags as the command line has them."""
    return changed(prior.FLAGS, _PREFIX, per_level=True)


def sampling_flags(prior: type[Prior]) -> list[Flag]:
    """The flags of a prior's sampling options: one value, or one a level.

    They are the defaults of the generator that is exported.
    """
    return changed(prior.SAMPLING_FLAGS, per_level=True, role=GENERATOR)


def prior_defaults(names: Sequence[str]) -> dict[str, list]:
    """Each prior's own defaults: one a level, by the flag's name."""
    classes = [find("prior", name) for name in names]
    tables = [
        {f.name: f.default for f in [*prior_flags(c), *c.SAMPLING_FLAGS]}
        for c in classes
    ]
    # A level whose prior lacks the flag has any other's default.
    union = functools.reduce(lambda a, b: {**b, **a}, tables)
    return {
        name: [table.get(name, default) for table in tables]
        for name, default in union.items()
    }


def check_no_others_flags(arguments: Sequence[str], table: Iterable[Flag]):
    """Raises `UserError` for flags of networks that were not chosen."""
    known = {flag.name for flag in table}
    others = collections.defaultdict(list)
    for other in modules.own(autoencoders):
        for flag in find("autoencoder", other).FLAGS:
            others[flag.name].append(f"--autoencoder={other}")
    for other in modules.own(priors):
        prior = find("prior", other)
        for flag in (*prior_flags(prior), *prior.SAMPLING_FLAGS):
            others[flag.name].append(f"--prior={other}")
    for argument in arguments:
        given = argument.partition("=")[0]
        for name in others.keys() - known:
            if given in (f"--{name}", f"--no{name}"):
                raise UserError(
                    f"--{name} is a flag of {' and of '.join(others[name])}, "
                    "which was not chosen."
                )


def levels(config) -> list[Level]:
    """The levels of a configuration's autoencoder, coarsest first."""
    model = without_weights(lambda: make_autoencoder(config, build=False))
    with _as_flags(model):
        levels = model.levels(config.image_size)
        if not levels or len({level.name for level in levels}) < len(levels):
            raise ValueError(
                f"--autoencoder must have levels of different names: {levels}"
            )
    return levels


def check(config) -> None:
    """Raises `UserError` if a prior cannot be made as its flags want it."""

    def check_one(index):
        prior = make_prior(config, index, 0, build=False)
        names = [flag.name for flag in prior.SAMPLING_FLAGS]
        with _as_flags(prior, _PREFIX, f"{prior.level.name} prior: "):
            prior.check_options(**{n: getattr(config, n)[index] for n in names})

    for index in range(len(config.levels)):
        without_weights(lambda index=index: check_one(index))


def without_weights(function: Callable[[], Any]) -> Any:
    """Calls a function that makes networks, without making their weights.

    In a thread of its own, as Keras lists such weights by thread and would
    make them at the end of the thread's next symbolic call.

    Args:
        function: Function without arguments.

    Returns:
        What it returns; variables in it have shapes and no values.
    """

    def in_scope():
        with keras.StatelessScope(initialize_variables=False):
            return function()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(in_scope).result()


@contextlib.contextmanager
def _as_flags(model, prefix="", level=""):
    """Turns a network's `ValueError` into a sentence that names flags."""
    names = {flag.name: f"--{prefix}{flag.name}" for flag in model.FLAGS}
    names["freeze"] = "--freeze"
    for flag in getattr(model, "SAMPLING_FLAGS", ()):
        names[flag.name] = f"--{flag.name}"

    def name(match):
        return names.get(match[1], match[0])

    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        text = re.sub(r"`(\w+)`", name, one_line(error))
        raise UserError(f"{level}{text}") from error


def make_autoencoder(
    config, dtype: str = "float32", build: bool = True
) -> Autoencoder:
    """The autoencoder of a configuration, its frozen parts not trainable.

    Args:
        config: `Configuration`.
        dtype: Keras dtype policy.
        build: Whether its weights are made.
    """
    model = find("autoencoder", config.autoencoder)
    own = {flag.name: getattr(config, flag.name) for flag in model.FLAGS}
    own |= {"channels": config.channels, "seed": config.seed}
    with _as_flags(model):
        autoencoder = model(dtype=dtype, **own)
        if build:
            autoencoder.build((None, *config.image_size, config.channels))
        autoencoder.freeze(config.freeze)
    return autoencoder


def make_prior(
    config,
    index: int,
    num_classes: int,
    dtype: str = "float32",
    build: bool = True,
) -> Prior:
    """The prior of one level of a configuration.

    Args:
        config: `Configuration`.
        index: 0 for the top.
        num_classes: Number of labels; 0 without classes.
        dtype: Keras dtype policy.
        build: Whether its weights are made.
    """
    model = find("prior", config.prior[index])
    level, coarser = config.levels[index], config.levels[:index]
    own = {
        flag.name: getattr(config, f"{_PREFIX}{flag.name}")[index]
        for flag in model.FLAGS
    }
    with _as_flags(model, _PREFIX, f"{level.name} prior: "):
        prior = model(level, coarser, num_classes, dtype=dtype, **own)
        if build:
            prior.build((None, *level.shape))
    return prior


def load_model(path: str, advice: str) -> Trainable:
    """A network that a run saved.

    Args:
        path: Path of the .keras file.
        advice: What the user can do if it cannot be loaded.

    Raises:
        UserError: If it cannot be loaded.
    """
    try:
        return keras.saving.load_model(path)
    except Exception as error:  # Damage raises any of many types.
        if is_disk_full(error) or is_out_of_memory(error):
            raise  # Then the file may be sound.
        reason = one_line(error)
        if filesystem.is_local(path) and not zipfile.is_zipfile(path):
            # Keras says that there is no file.
            reason = "It is damaged."
        raise UserError(
            f"{path} cannot be loaded; {advice}. {reason}"
        ) from error


def training_plan(
    config, model: Trainable, index: int | None = None
) -> TrainingPlan:
    """How a network of a configuration trains.

    Args:
        config: `Configuration`.
        model: The network.
        index: Level of a prior; None for the autoencoder.
    """

    def value(name):
        if index is None:
            return getattr(config, name)
        values = getattr(config, f"{_PREFIX}{name}")
        return values[index] if isinstance(values, list) else values

    rate = value("learning_rate")
    if value("schedule") == "paper":
        rate = PriorSchedule(rate, model.schedule_width)
    elif value("schedule") == "cosine":
        rate = cosine_schedule(rate, value("steps"), value("warm_up_steps"))

    def make_optimizer():
        # TensorFlow's epsilon, which the paper's code had; Keras' is 1e-7.
        return keras.optimizers.Adam(
            rate, value("adam_beta_1"), value("adam_beta_2"), epsilon=1e-8
        )

    return TrainingPlan(
        steps=value("steps"),
        batch_size=value("batch_size"),
        make_optimizer=make_optimizer,
        polyak_decay=value("polyak_decay"),
        accumulation_steps=(
            1 if index is None else value("accumulation_steps")
        ),
        seed=config.seed,
        steps_per_call=config.steps_per_loop,
        shard_state=config.shard_state,
        check_numerics=config.check_numerics,
        validate_every=config.validate_every,
        weights=config.weights,
    )


def parameter_counts(config, num_classes: int) -> dict[str, int]:
    """Parameters of each network, without making its weights.

    Returns:
        dict of a network's name to the number of its weights, codebooks and
        batch statistics included.
    """

    def count():
        counts = {"autoencoder": make_autoencoder(config).count_params()}
        for index, level in enumerate(config.levels):
            prior = make_prior(config, index, num_classes)
            counts[f"{level.name} prior"] = prior.count_params()
        return counts

    return without_weights(count)

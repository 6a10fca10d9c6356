"""Networks that start from the weights of others (`--init_from`)."""

import json
import os
import zipfile
from collections.abc import Callable

import keras

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.errors import shorten
from vqvae2_tf.files import filesystem
from vqvae2_tf.files.listing import is_within
from vqvae2_tf.priors.base import Prior
from vqvae2_tf.runs import folder
from vqvae2_tf.runs import networks
from vqvae2_tf.runs.configuration import Configuration
from vqvae2_tf.training.devices import Devices


def check(
    config: Configuration, num_classes: int, is_begun: Callable[[str], bool]
) -> None:
    """Checks that the networks of the run's stage can start.

    Args:
        config: `Configuration` with `init_from`.
        num_classes: Number of labels; 0 without classes.
        is_begun: Whether the folder of a network holds anything trained; then
            the network goes on from there, and its source is not looked at.

    Raises:
        UserError: If there is no such run or file, if it has no network of
            this run, or one with other weights.
    """
    names = {
        "all": _names(config),
        "autoencoder": [folder.AUTOENCODER],
        "codes": [],
        "prior": [folder.prior_folder(config.level)],
    }[config.stage]
    if not config.overwrite:
        names = [name for name in names if not is_begun(name)]
    if not names:
        return
    if is_within(config.init_from, config.run_dir):
        raise UserError(
            f"--init_from={config.init_from}: expected another run than "
            f"--run_dir={config.run_dir}."
        )
    sources = _sources(config)
    if config.freeze and folder.AUTOENCODER in {*names} - {*sources}:
        raise UserError(
            f"--freeze={','.join(config.freeze)} needs an autoencoder in "
            f"--init_from={config.init_from}."
        )

    def check_one(name, path):
        here = _make(config, name, num_classes)
        _fitting(config, name, path, _read_outline(path), here)

    for name in names:
        if name in sources:
            networks.without_weights(
                lambda name=name: check_one(name, sources[name])
            )


def assign(
    config: Configuration, name: str, model: keras.Model, devices: Devices
) -> None:
    """Gives a new network the weights that it starts from, if there are any.

    Codebooks come with their moving averages. What depends on the number of
    classes is left out where that is another one.

    Args:
        config: `Configuration` with `init_from`.
        name: Name of the network's folder.
        model: The network, built in the scope of `devices`.
        devices: What trains it.

    Raises:
        UserError: If the file is missing or damaged, or its weights do not
            fit.
    """
    path = _sources(config).get(name)
    if not path:
        print(f"{name}: starts anew, not in {config.init_from}", flush=True)
        return
    with devices.local.scope():
        source = networks.load_model(path, "give another --init_from")
    fitting = networks.without_weights(
        lambda: _fitting(config, name, path, source, model)
    )
    there, here = named_weights(source), named_weights(model)
    with devices.scope():
        for key in fitting:
            here[key].assign(keras.ops.convert_to_numpy(there[key]))
    print(f"{name}: starts from {path}", flush=True)
    others = {*there, *here} - {*fitting}
    if others:
        print(
            f"{name}: {shorten(_joint_names(others, fitting))} not taken, "
            f"{source.num_classes} classes there, {model.num_classes} here",
            flush=True,
        )


def named_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """A network's weights by their places in it, but none of whole numbers.

    Such as `encoders/0/conv/kernel`. Keras' own paths count the layers that
    the process made before. Whole numbers count training steps.
    """
    weights = {
        id(variable): variable
        for variable in model.weights
        if "int" not in keras.backend.standardize_dtype(variable.dtype)
    }
    named, seen = {}, set()

    def visit(item, path):
        if isinstance(item, list | tuple):
            item = dict(enumerate(item))
        if isinstance(item, dict):
            for key, value in item.items():
                visit(value, [*path, str(key)])
        elif isinstance(item, keras.Layer) and id(item) not in seen:
            seen.add(id(item))
            own = {k: v for k, v in vars(item).items() if k[0] != "_"}
            # Keras' own models have their layers in a property.
            visit({**own, "layers": getattr(item, "layers", [])}, path)
            # Its own, and those of layers in private attributes.
            for variable in item.weights:
                if weights.pop(id(variable), None) is not None:
                    name = "/".join([*path, variable.name])
                    if name in named:
                        name = f"{name}_{len(named)}"
                    named[name] = variable

    visit(model, [])
    return named


def _shapes(model):
    return {name: tuple(v.shape) for name, v in named_weights(model).items()}


def _names(config):
    """Folders of the run's networks that have weights."""
    priors = map(folder.prior_folder, config.level_names)
    return [*[folder.AUTOENCODER] * config.needs_images, *priors]


def _index(config, name):
    """The level of a prior's folder."""
    return list(map(folder.prior_folder, config.level_names)).index(name)


def _make(config, name, num_classes):
    """A network of the run, by the name of its folder."""
    if name == folder.AUTOENCODER:
        return networks.make_autoencoder(config)
    return networks.make_prior(config, _index(config, name), num_classes)


def _kind(config, name):
    """The class of a network of the run and, of a prior, its level's name."""
    if name == folder.AUTOENCODER:
        return networks.find("autoencoder", config.autoencoder), None
    index = _index(config, name)
    model = networks.find("prior", config.prior[index])
    return model, config.level_names[index]


def _sources(config):
    """Files to start from, by the names of the networks' folders."""
    names, source = _names(config), config.init_from
    if source.endswith(".keras"):
        outline = networks.without_weights(lambda: _read_outline(source))
        level = outline.level.name if isinstance(outline, Prior) else None
        kind = type(outline), level
        kinds = {name: _kind(config, name) for name in names}
        found = [name for name in names if kinds[name] == kind]
        if not found:
            raise UserError(
                f"--init_from={source}: expected a network of this run "
                f"({', '.join(map(_in_words, kinds.values()))}). Received: "
                f"{_in_words(kind)}"
            )
        return dict.fromkeys(found, source)
    paths = {n: os.path.join(source, n, folder.MODEL_FILE) for n in names}
    found = {n: path for n, path in paths.items() if filesystem.exists(path)}
    if not found:
        raise UserError(
            f"--init_from={source}: expected a .keras file, or the folder of a "
            f"run in which one of {', '.join(names)} is finished."
        )
    return found


def _in_words(kind):
    model, level = kind
    return f"{model.__name__} of {level}" if level else model.__name__


def _read_outline(path):
    """A saved network, without the values of its weights."""
    try:
        with (
            filesystem.opened(path, "rb") as file,
            zipfile.ZipFile(file) as archive,
        ):
            config = json.loads(archive.read("config.json"))
        return keras.saving.deserialize_keras_object(config)
    except Exception as error:  # Damage raises any of many types.
        raise UserError(
            f"--init_from: {path} cannot be read. {one_line(error)}"
        ) from error


def _fitting(config, name, path, there, here):
    """Names of the weights that a network takes from another one.

    Raises `UserError` if one does not fit and does not depend on the number of
    classes, which differs.
    """
    if type(there) is not type(here):
        raise UserError(
            f"--init_from: {path} is a {type(there).__name__}. Expected "
            f"{type(here).__name__}; give one .keras file to start that "
            "network alone."
        )
    old, new = _shapes(there), _shapes(here)
    of_classes = set()
    classes = [getattr(model, "num_classes", 0) for model in (there, here)]
    if classes[0] != classes[1]:
        with_classes, without = (
            _shapes(_make(config, name, count)) for count in (max(classes), 0)
        )
        of_classes = _differing(with_classes, without)
    for key in _differing(new, old):
        if key not in of_classes:
            expected, received = (
                f"the shape {shapes[key]}"
                if key in shapes
                else "no such weight"
                for shapes in (new, old)
            )
            raise UserError(
                f"--init_from: for {key} of {name}, expected {expected}. "
                f"Received: {received} in {path}"
            )
    return [key for key in new if new[key] == old.get(key)]


def _differing(some, others):
    """Keys whose values differ, in order."""
    return [k for k in {**some, **others} if some.get(k) != others.get(k)]


def _joint_names(names, others):
    """Names of the largest parts that hold none of the others."""

    def of_part(name):
        place = name.split("/")
        parts = ["/".join(place[: i + 1]) for i in range(len(place))]
        return next(
            part
            for part in parts
            if not any(f"{other}/".startswith(f"{part}/") for other in others)
        )

    return sorted({of_part(name) for name in names})

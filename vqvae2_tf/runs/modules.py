"""Classes that flags choose by the name of their module."""

import importlib
import os
import pkgutil
import sys
import types

from vqvae2_tf.errors import UserError


def find(
    flag: str, room: types.ModuleType, base: type, name: str, others: str = ""
) -> type:
    """The class that a flag names: a module's `Model`.

    Args:
        flag: Name of the flag.
        room: Package of the package's own modules.
        base: Class that the found one is of.
        name: Of a module of the room, or with a dot any module's full path; it
            may be in the working directory.
        others: What else the flag takes, for the error.

    Raises:
        UserError: If there is no such module, or no `Model` in it.
    """
    module = name
    if "." not in name:
        module = f"{room.__name__}.{name}"
    elif os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    found = None
    if all(part.isidentifier() for part in module.split(".")):
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(f"{error.name}."):
                raise  # The module exists, and lacks what it imports itself.
    model = getattr(found, "Model", None)
    if not isinstance(model, type) or not issubclass(model, base):
        raise UserError(
            f"--{flag}={name}: expected one of {', '.join(own(room))}, or the "
            f"full path of a module with a Model, a class of {base.__name__}"
            f"{others}."
        )
    return model


def own(room: types.ModuleType) -> list[str]:
    """Names of a package's modules that have a `Model`."""
    names = [module.name for module in pkgutil.iter_modules(room.__path__)]
    rooms = [importlib.import_module(f"{room.__name__}.{n}") for n in names]
    return [n for n, m in zip(names, rooms, strict=True) if hasattr(m, "Model")]

"""Exports from another backend: TensorFlow makes them in a process of its own.

A network is the same on every backend, and its file is how it gets there.
"""

import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable

import keras

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import one_line
from vqvae2_tf.errors import sentence_for

# What stands for a network, among JSON values.
_MODEL = "path of a model"


def in_tensorflow(export: Callable[..., None]) -> Callable[..., None]:
    """Runs an export in a process of TensorFlow, unless this is one.

    Args:
        export: Function of a module, whose arguments are networks, JSON values
            and lists of them.

    Returns:
        Function of the same arguments.

    Raises:
        UserError: If that process fails.
    """

    @functools.wraps(export)
    def run(*arguments):
        if keras.backend.backend() == "tensorflow":
            export(*arguments)
            return
        with tempfile.TemporaryDirectory() as folder:
            _save(folder, export, arguments)
            # Accelerators belong to this process.
            environment = {
                **os.environ,
                "KERAS_BACKEND": "tensorflow",
                "CUDA_VISIBLE_DEVICES": "",
            }
            result = subprocess.run(
                [sys.executable, "-m", __name__, folder],
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
        if result.returncode:
            lines = result.stderr.splitlines() or [""]
            if result.returncode < 0:
                # Without enough memory, Linux ends a process by SIGKILL.
                lines = [signal.Signals(-result.returncode).name]
            raise UserError(
                f"TensorFlow could not write the SavedModel: {lines[-1]}"
            ) from RuntimeError(result.stderr)

    return run


def _save(folder, export, arguments):
    modules, count = [], 0

    def describe(argument):
        nonlocal count
        if isinstance(argument, list | tuple):
            return list(map(describe, argument))
        if not isinstance(argument, keras.Model):
            return argument
        path = os.path.join(folder, f"{count}.keras")
        argument.save(path)
        modules.append(type(argument).__module__)
        count += 1
        return {_MODEL: path}

    call = {
        "function": [export.__module__, export.__name__],
        "arguments": describe(arguments),
        "modules": modules,
    }
    with open(os.path.join(folder, "call.json"), "w", encoding="utf-8") as file:
        json.dump(call, file)


def _main(folder):
    with open(os.path.join(folder, "call.json"), encoding="utf-8") as file:
        call = json.load(file)
    # As in the command line's processes, whatever the user's keras.json has.
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    for module in call["modules"]:
        # Keras finds the classes that were imported.
        importlib.import_module(module)

    def load(argument):
        if isinstance(argument, list):
            return list(map(load, argument))
        if isinstance(argument, dict) and _MODEL in argument:
            return keras.saving.load_model(argument[_MODEL])
        return argument

    module, name = call["function"]
    try:
        getattr(importlib.import_module(module), name)(*load(call["arguments"]))
    except Exception as error:
        traceback.print_exc()
        # What is shown is the last line.
        sys.exit(sentence_for(error) or one_line(error))


if __name__ == "__main__":
    _main(sys.argv[1])

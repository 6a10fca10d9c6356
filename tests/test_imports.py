"""Imports point one way, and networks need no TensorFlow."""

import ast
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "vqvae2_tf"

# What each room may import of this package, besides itself.
ALLOWED = {
    "level": {"flags"},
    "flags": {"errors"},
    "errors": set(),
    "trainable": {"level"},
    "files": {"errors"},
    "evaluation": {"errors", "files"},
    "data": {"errors", "files"},
    "layers": {"level"},
    "sampling": {"flags", "layers", "level"},
    "autoencoders": {
        "evaluation",
        "flags",
        "layers",
        "level",
        "sampling",
        "trainable",
    },
    "priors": {"flags", "layers", "level", "sampling", "trainable"},
}
ALLOWED["codes"] = {
    "autoencoders",
    "data",
    "errors",
    "evaluation",
    "files",
    "level",
}
ALLOWED["training"] = {"data", "errors", "files", "trainable"}
ALLOWED["export"] = set(ALLOWED) - {"data", "training"}
ALLOWED["runs"] = set(ALLOWED)
ALLOWED["commands"] = set(ALLOWED)
ALLOWED["__main__"] = {"commands"}
WITHOUT_TENSORFLOW = (
    "level",
    "flags",
    "errors",
    "trainable",
    "evaluation",
    "layers",
    "sampling",
    "autoencoders",
    "priors",
)


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources():
    return sorted(PACKAGE.rglob("*.py"))


def uses_tensorflow(path):
    return any(
        name.split(".")[0].startswith("tensorflow")
        for name in imported_modules(path)
    )


def part_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_imports_point_one_way(path):
    part = part_of(path)
    allowed = set() if part == "__init__" else ALLOWED[part] | {part}
    for name in imported_modules(path):
        top, *rest = name.split(".")
        assert top not in ("experiments", "tools", "tests"), name
        if top == "vqvae2_tf":
            assert rest[0] in allowed, f"{path.name} imports {name}"


def test_every_folder_of_modules_is_installed():
    # Installing takes packages only: folders that hold an __init__.py.
    for folder in {path.parent for path in sources()}:
        assert (folder / "__init__.py").exists(), folder


@pytest.mark.parametrize(
    "path",
    [path for path in sources() if part_of(path) in WITHOUT_TENSORFLOW],
    ids=lambda path: path.stem,
)
def test_networks_use_tensorflow_in_one_file_only(path):
    assert uses_tensorflow(path) == (path.name == "replicas.py")


def test_training_uses_tensorflow_in_three_files():
    paths = filter(uses_tensorflow, (PACKAGE / "training").glob("*.py"))
    own = {"tensorflow.py", "strategy.py", "summaries.py"}
    assert {path.name for path in paths} == own


def test_networks_run_where_tensorflow_is_not_installed():
    program = """
import sys
sys.modules["tensorflow"] = None
import jax
import keras
import numpy as np
from tests.helpers import zero_initializers
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.sampling import sample_levels
jax.config.update("jax_disable_most_optimizations", True)
model = VQVAE2(strides=(2, 2), hidden_units=4, residual_units=2, num_codes=5,
               code_dim=3)
levels = model.levels((8, 12))
sizes = {"hidden_units": 4, "residual_units": 4, "layers": 1, "heads": 2,
         "conditioning_blocks": 2, "conditioning_units": 4, "num_classes": 2}
priors = [
    PixelSNAIL(levels[0], attention_every=1, **sizes),
    PixelSNAIL(levels[1], levels[:1], attention_every=0, **sizes),
]
with zero_initializers():
    model.build((None, 8, 12, 3))
    for prior in priors:
        prior.build()

@jax.jit
def images(noise):
    with keras.StatelessScope():
        model(noise, training=True)
        return model.decode(sample_levels(priors, labels=[0, 1]))

assert images(np.zeros((1, 8, 12, 3), "float32")).shape == (2, 8, 12, 3)
assert not any(name.startswith("tensorflow.") for name in sys.modules)
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, check=True
    )

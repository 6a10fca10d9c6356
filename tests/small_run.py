"""A small finished run that many tests look at, and verbs in this process."""

import fcntl
import os
import pathlib
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from vqvae2_tf.commands import cli
from vqvae2_tf.commands import train
from vqvae2_tf.runs import configuration

CLASSES = ("dark", "grey & pale", "light")
IMAGE_SIZE = (8, 12)
NUM_CODES = 6
# `make test-all` runs the suite in both.
PRECISION = os.environ.get("VQVAE2_TEST_PRECISION", "float32")
FLAGS = f"""
--precision={PRECISION}
--image_size=8,12
--strides=2,2
--hidden_units=4
--residual_units=2
--residual_layers=1
--num_codes={NUM_CODES}
--code_dim=3
--batch_size=4
--steps=4
--learning_rate=1e-3
--augment=flip
--code_augment=shift
--code_passes=2
--validate_every=2
--steps_per_loop=2
--prior_hidden_units=4
--prior_residual_units=4
--prior_layers=1
--prior_attention_every=1,0
--prior_heads=2
--prior_output_layers=1,0
--prior_conditioning_blocks=2
--prior_conditioning_units=4
--prior_batch_size=4
--prior_steps=4
--samples_per_class=2
--sample_grid=0
""".split()


def call(verb, *arguments) -> str | int | None:
    """Runs a verb in this process. Returns what it exits with.

    Args:
        verb: Module of the verb.
        *arguments: Its flags.
    """
    try:
        cli.run(verb.main, [str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code
    return None


def parse(*arguments) -> configuration.Configuration:
    """The small run's configuration with further flags, on other images."""
    return configuration.parse(
        ["--dataset=emoji64", "--run_dir=x", *FLAGS, *arguments]
    )


def assert_one_sentence(message, *words):
    """A verb ended with one sentence that has the words."""
    assert isinstance(message, str), message
    assert message.startswith("error: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def contents(folder):
    """The bytes of each file of a folder, by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def save_images(folder, size=IMAGE_SIZE, count=4):
    """Random images in a subfolder a class."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(100, size=(*size, 3)) + 75 * label
            image = Image.fromarray(pixels.astype("uint8"))
            image.save(folder / name / f"{i}.png")


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """As if the disk were full at the first file of more than `room` bytes."""
    earlier = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, earlier[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, earlier)


class SmallRun:
    """A finished run over a folder of images; tests change copies of it.

    Args:
        folder: Folder of the images, the prepared images and the run. The
            first test process that comes makes it, others wait.

    Attributes:
        run_dir: The run.
        first_try: What the first try to make it, on a full disk, ended with.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.run_dir = folder / "run"
        folder.mkdir(exist_ok=True)
        message = folder / "first_try.txt"
        with open(folder / "lock", "w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not message.exists():
                save_images(folder / "images")
                with full_disk(room=150_000):
                    first_try = self.train(self.run_dir)
                assert self.train(self.run_dir) is None
                message.write_text(str(first_try))
        self.first_try = message.read_text()

    def arguments(self, run_dir: pathlib.Path) -> list[str]:
        """Flags that make the run, or resume a copy of it."""
        return [
            *FLAGS,
            f"--dataset=folder:{self.folder / 'images'}",
            f"--data_dir={self.folder / 'tfds'}",
            f"--run_dir={run_dir}",
        ]

    def train(self, run_dir: pathlib.Path, *arguments) -> str | int | None:
        """Runs `train` with further flags. Returns what it exits with."""
        return call(train, *self.arguments(run_dir), *arguments)

    def copy(self, folder: pathlib.Path) -> pathlib.Path:
        """The folder of a copy of the run."""
        return shutil.copytree(self.run_dir, folder / "run")

"""A run killed at random moments ends as one that was left alone."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from tests.helpers import array
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.priors import PixelSNAIL

ROOT = pathlib.Path(__file__).parents[2]
KILLS = 20


def start(run_dir):
    return subprocess.Popen(
        [
            sys.executable,
            "experiments/train.py",
            "--flagfile=emoji.flags",
            "--flagfile=smoke.flags",
            "--precision=float32",
            "--steps=60",
            "--prior_steps=40",
            f"--run_dir={run_dir}",
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(run_dir):
    """Seconds that a run took to its end."""
    begin = time.monotonic()
    process = start(run_dir)
    _, errors = process.communicate()
    assert process.returncode == 0, errors[-2000:]
    return time.monotonic() - begin


def check_same(run_dir, other_dir):
    for name in ("autoencoder", "prior_top", "prior_bottom"):
        one, other = (
            keras.saving.load_model(folder / name / "model.keras")
            for folder in (run_dir, other_dir)
        )
        assert isinstance(one, VQVAE2 if name == "autoencoder" else PixelSNAIL)
        # Not the states of dropout's draws, which files do not hold.
        for a, b in zip(one.weights, other.weights, strict=True):
            np.testing.assert_array_equal(array(a), array(b), err_msg=name)
    one, other = (
        (folder / "metrics.json").read_text() for folder in (run_dir, other_dir)
    )
    assert one == other


@pytest.mark.large
def test_killed_twenty_times_it_ends_with_the_same_weights(tmp_path):
    seconds = finish(tmp_path / "whole")
    moments = random.Random(int(os.environ.get("KILL_SEED", "0")))
    signals = {signal.SIGTERM: 0, signal.SIGKILL: 0}
    runs = 0
    while sum(signals.values()) < KILLS:
        run_dir = tmp_path / f"killed-{runs}"
        process = start(run_dir)
        try:
            process.communicate(timeout=moments.uniform(0.1, 0.6) * seconds)
        except subprocess.TimeoutExpired:
            number = moments.choice(list(signals))
            signals[number] += 1
            process.send_signal(number)
            process.communicate()
            continue
        assert process.returncode == 0
        check_same(tmp_path / "whole", run_dir)
        runs += 1
    finish(tmp_path / f"killed-{runs}")
    check_same(tmp_path / "whole", tmp_path / f"killed-{runs}")
    print(f"signals sent: {signals}, finished runs compared: {runs + 1}")
    assert min(signals.values()) > 0

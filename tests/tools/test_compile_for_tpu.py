"""Programs for TPUs that are not there: sizes, collectives, the search."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND", "tensorflow") == "jax",
    reason="each test starts its own process on JAX",
)
SMALL = [
    "--image_size=16",
    "--strides=2,2",
    "--hidden_units=4",
    "--residual_units=2",
    "--num_codes=8",
    "--code_dim=4",
    "--batch_size=8",
]


def compile_for_tpu(*arguments, cache, code=0):
    """What the tool prints: its JSON, or its sentence."""
    command = [sys.executable, "tools/compile_for_tpu.py", *arguments, *SMALL]
    done = subprocess.run(
        [*command, f"--cache={cache}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stderr if code else json.loads(done.stdout)


def test_a_training_step_is_compiled(tmp_path):
    pytest.importorskip("libtpu", reason="needs the extra tpu-plan")
    found = compile_for_tpu("train", "--topology=v5e:2x2", cache=tmp_path)
    (row,) = found["rows"]
    assert row["fits"]
    assert (row["devices"], row["batch_size"]) == (4, 8)
    # Weights, averages and Adam's two moments; the images are a little more.
    assert row["state_gib"] * 2**30 > 4 * 4 * row["parameters"]
    assert row["peak_gib"] > row["state_gib"] + row["temporary_gib"]
    # Gradients in bfloat16, and the codebooks' sums.
    (sums,) = row["collective_bytes"].values()
    assert 2 * row["parameters"] < sums < 8 * row["parameters"]
    again = compile_for_tpu("train", "--topology=v5e:2x2", cache=tmp_path)
    assert again == found


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--topology=v9:2x2"], ["--topology=v9:2x2", "v5e:4x4"]),
        (["sample"], ["sample", "--level"]),
        (["train", "--topology=v5e", "--batch_size=7"], ["v5e"]),
    ],
)
def test_what_cannot_be_compiled_is_one_sentence(arguments, words, tmp_path):
    pytest.importorskip("libtpu", reason="needs the extra tpu-plan")
    message = compile_for_tpu(*arguments, cache=tmp_path, code=1)
    last = message.strip().splitlines()[-1]
    assert last.startswith("error: ")
    for word in words:
        assert word in last


CHECKS = """
import compile_for_tpu as tool

program = '''
%a = f32[512,64]{1,0:T(8,128)} all-reduce(%x), channel_id=2
%b = (bf16[4]{0}, /*index=1*/s32[2,3]{1,0}) all-reduce-start(%y), channel_id=3
%c = (bf16[4]{0}, s32[2,3]{1,0}) all-reduce-done(%b)
%d = pred[8]{0} all-gather(%z), channel_id=4
%e = f32[9]{0} add(%p, %q)
'''
assert tool.collective_bytes(program) == {
    "all-reduce": 4 * 512 * 64 + 2 * 4 + 4 * 6, "all-gather": 8}

for first in range(6):
    rows = []
    found = tool.first_that_fits(
        list(range(5)), lambda n: {"fits": n >= first}, rows)
    assert found == (first if first < 5 else None)
    assert len(rows) <= 3
"""


def test_collectives_are_added_up_and_the_search_ends():
    subprocess.run(
        [sys.executable, "-c", CHECKS],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tools'}"},
        check=True,
    )

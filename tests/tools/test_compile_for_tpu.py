"""Programs for TPUs that are not there: sizes, collectives, the search."""

import json

import pytest

from tests.helpers import BACKEND
from vqvae2_tf.errors import UserError

pytestmark = [
    pytest.mark.any_backend,
    pytest.mark.skipif(BACKEND != "jax", reason="compiles the JAX trainer"),
]
if BACKEND == "jax":
    import jax

    import compile_for_tpu as tool

SMALL = [
    "--image_size=16",
    "--strides=2,2",
    "--hidden_units=4",
    "--residual_units=2",
    "--num_codes=8",
    "--code_dim=4",
    "--batch_size=8",
]


@pytest.fixture(autouse=True)
def xla_flags(monkeypatch):
    """Those of the tests, which the tool removes, for the tests that follow."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)


def compiled(capsys, cache, *arguments):
    """What the tool prints."""
    pytest.importorskip("libtpu", reason="needs the extra tpu-plan")
    tool.main([*arguments, *SMALL, f"--cache={cache}"])
    return json.loads(capsys.readouterr().out)


def test_a_training_step_is_compiled(tmp_path, capsys):
    arguments = ("train", "--topology=v5e:2x2", "--steps=1000")
    found = compiled(capsys, tmp_path, *arguments)
    (row,) = found["rows"]
    assert row["fits"]
    assert (row["devices"], row["batch_size"]) == (4, 8)
    # Weights, averages and Adam's two moments, each array padded to tiles.
    assert row["state_gib"] * 2**30 > 4 * 4 * row["parameters"]
    assert row["peak_gib"] > row["state_gib"]
    # Gradients in bfloat16, and the codebooks' sums.
    (sums,) = row["collective_bytes"].values()
    assert 2 * row["parameters"] < sums < 8 * row["parameters"]
    # Google's peak of a v5e chip.
    flops = 0.4 * 197e12 * 3600 * row["chip_hours"]
    assert flops == pytest.approx(1000 * 4 * row["flops"])
    assert compiled(capsys, tmp_path, *arguments) == found


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--topology=v9:2x2"], "--topology=v9:2x2.*v5e:4x4"),
        (["sample", "--topology=v5e:2x2"], "sample.*--level"),
        (["train", "--topology=v5e=2x2"], "=v5e=2x2.*v4:2x2x1.$"),
        (["train", "--topology=v5e:4x4"], "16 devices.*batch of 8"),
        (["train", "--topology=v5e", "--find_batch"], "--topology=v5e: "),
        (
            ["train", "--topology=v9", "--smallest_slice"],
            "--topology=v9.*batch of 8.*v5e",
        ),
    ],
)
def test_what_cannot_be_compiled_is_one_sentence(
    arguments, words, tmp_path, capsys
):
    with pytest.raises(UserError, match=words):
        compiled(capsys, tmp_path, *arguments)


def test_devices_share_the_samples(tmp_path, capsys):
    prior = ["--stage=prior", "--level=top", "--prior_layers=1"]
    small = ["--prior_hidden_units=8", "--prior_residual_units=8"]
    more = ["--prior_attention_every=0", "--prior_batch_size=64"]
    flops = [
        compiled(
            capsys,
            tmp_path,
            "sample",
            f"--topology=v5e:{shape}",
            *(*prior, *small, *more),
        )["rows"][0]["flops"]
        for shape in ("1x1", "2x2")
    ]
    assert flops[1] < 0.5 * flops[0]


@pytest.mark.large
@pytest.mark.parametrize("job", ["train", "sample"])
def test_a_transformer_is_compiled(job, tmp_path, capsys):
    prior = ["--stage=prior", "--level=bottom", "--prior=transformer"]
    small = ["--prior_hidden_units=8", "--prior_residual_units=8"]
    small += ["--prior_layers=1", "--prior_batch_size=4"]
    arguments = [job, "--topology=v5e:2x2", *prior, *small]
    (row,) = compiled(capsys, tmp_path, *arguments)["rows"]
    assert row["fits"]


@pytest.mark.large
@pytest.mark.parametrize("job", ["train", "sample"])
def test_a_maskgit_prior_is_compiled(job, tmp_path, capsys):
    prior = ["--prior=maskgit", "--stage=prior", "--level=bottom"]
    small = ["--prior_hidden_units=8", "--prior_layers=1", "--prior_heads=2"]
    more = ["--prior_local_attention", "--prior_batch_size=8"]
    arguments = [job, "--topology=v5e:2x2", *prior, *small, *more]
    (row,) = compiled(capsys, tmp_path, *arguments)["rows"]
    assert row["fits"]
    assert row["flops"] > 0


def rows_without_and_with(flag, batch_size, cache, capsys):
    """The rows of a wide prior's training."""
    prior = ["--stage=prior", "--level=top", "--prior_layers=1"]
    wide = ["--prior_hidden_units=128", "--prior_residual_units=128"]
    more = ["--prior_attention_every=0", f"--prior_batch_size={batch_size}"]
    arguments = ["train", "--topology=v5e:2x2", *prior, *wide, *more]
    return [
        compiled(capsys, cache, *arguments, *flags)["rows"][0]
        for flags in ([], [flag])
    ]


@pytest.mark.large
def test_a_shared_state_takes_less_of_each_device(tmp_path, capsys):
    flag = "--shard_state"
    whole, shared = rows_without_and_with(flag, 4, tmp_path, capsys)
    # Of weights, averages and two moments, all but the weights are shared.
    assert shared["state_gib"] < 0.6 * whole["state_gib"]
    # The new weights, once.
    gathered = shared["collective_bytes"]["all-gather"]
    assert gathered == pytest.approx(4 * shared["parameters"], rel=0.05)
    exchanged = whole["collective_bytes"]["all-reduce"]
    assert shared["collective_bytes"]["all-reduce"] < 1.1 * exchanged


@pytest.mark.large
def test_a_batch_in_parts_takes_as_many_chip_hours(tmp_path, capsys):
    flag = "--prior_accumulation_steps=4"
    whole, parts = rows_without_and_with(flag, 512, tmp_path, capsys)
    # Those of a loop's body count once.
    assert parts["flops"] < 0.5 * whole["flops"]
    assert parts["chip_hours"] == pytest.approx(whole["chip_hours"], rel=0.1)


@pytest.mark.parametrize(
    ("topology", "devices"), [("v3:2x2", 8), ("v4:2x2x1", 4), ("v5p:2x2x1", 4)]
)
def test_devices_are_those_that_jax_has_there(topology, devices):
    pytest.importorskip("libtpu", reason="needs the extra tpu-plan")
    assert tool.Slice(topology).devices == devices


def test_a_compilers_errors_tell_the_memory_that_is_needed():
    message = "RESOURCE_EXHAUSTED: Used 20.03G of 15.75G hbm. Exceeded hbm"
    assert tool.memory_needed(message) == (20.03, 15.75)
    message = (
        "CompileTimeHbmOom: Ran out of memory on HBM, the total memory "
        "required for HLO temporaries (1.50T) exceeds available HBM (15.75G)."
    )
    assert tool.memory_needed(message) == (1536.0, 15.75)
    assert tool.memory_needed("RESOURCE_EXHAUSTED: of the host") is None


def test_collectives_are_added_up():
    program = """
%a = f32[512,64]{1,0:T(8,128)} all-reduce(%x), channel_id=2
%b = (bf16[4]{0}, /*index=1*/s32[2,3]{1,0}) all-reduce-start(%y), channel_id=3
%c = (bf16[4]{0}, s32[2,3]{1,0}) all-reduce-done(%b)
%d = pred[8]{0} all-gather(%z), channel_id=4
%e = f32[9]{0} add(%p, %q)
"""
    assert tool.collective_bytes(program) == {
        "all-reduce": 4 * 512 * 64 + 2 * 4 + 4 * 6,
        "all-gather": 8,
    }


def test_a_collective_in_several_fusions_is_counted_once():
    program = """
%a = f32[64,8]{1,0} all-gather(%x), channel_id=7, dimensions={0}
%b = f32[64,8]{1,0:S(1)} all-gather(%y), channel_id=7, dimensions={0}
%c = f32[64,8]{1,0} all-gather(%z), channel_id=8, dimensions={0}
%d = u32[] all-reduce(%p), channel_id=1, to_apply=%add
%e = f32[3] all-reduce(%q), channel_id=1, to_apply=%add
%f = f32[3] all-reduce(%r), to_apply=%add
%g = f32[3] all-reduce(%s), to_apply=%add
"""
    assert tool.collective_bytes(program) == {
        "all-gather": 2 * 4 * 64 * 8,
        "all-reduce": 4 + 3 * 4 * 3,
    }


def test_operands_of_what_is_started_are_not_counted():
    program = """
%a = (f32[2,8]{1,0}, f32[8,8]{1,0}) all-gather-start(%x), channel_id=1
%b = f32[8,8]{1,0} all-gather-done(%a)
%c = ((f32[2], s32[1]), (f32[8], s32[4])) all-gather-start(%y, %z)
%d = ((bf16[8]), bf16[2], u32[]) reduce-scatter-start(%v), channel_id=2
%e = (f32[5], f32[5], u32[], u32[]) collective-permute-start(%w)
"""
    assert tool.collective_bytes(program) == {
        "all-gather": 4 * 64 + 4 * 8 + 4 * 4,
        "reduce-scatter": 2 * 2,
        "collective-permute": 4 * 5,
    }


def test_a_program_that_jaxlib_cannot_read_still_has_its_row(
    monkeypatch, tmp_path, capsys
):
    def fail(compiled):
        raise jax.errors.JaxRuntimeError("INTERNAL: RET_CHECK failure")

    monkeypatch.setattr(jax.stages.Compiled, "as_text", fail)
    (row,) = compiled(capsys, tmp_path, "train", "--topology=v5e:1x1")["rows"]
    assert row["fits"] and row["flops"] > 0
    assert row["collective_bytes"] is None


@pytest.mark.parametrize("first", range(6))
def test_the_search_finds_the_first_that_fits(first):
    rows = []
    found = tool.first_that_fits(
        list(range(5)), lambda number: {"fits": number >= first}, rows
    )
    assert found == (first if first < 5 else None)
    assert len(rows) <= 3

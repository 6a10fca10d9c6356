"""The main script: flagfiles, a whole small run, and its errors."""

import contextlib
import importlib.util
import io
import json
import pathlib
import resource
import shutil
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
from absl import flags
from PIL import Image

from tests import helpers
from vqvae2_tf.commands import cli as command
from vqvae2_tf.export import load as saved_models
from vqvae2_tf.codes import extraction
from vqvae2_tf.errors import UserError
from vqvae2_tf.files.lock import lock
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.runs import configuration as configuration
from vqvae2_tf.runs import networks
from vqvae2_tf.runs import folder as run_folder
from vqvae2_tf.runs.pipeline import run_entries

ROOT = pathlib.Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"


def resolve(*arguments):
    """The configuration that arguments give, in a fresh set of flags."""
    values = flags.FlagValues()
    configuration.define_flags(values)
    values(["train.py", *arguments])
    return configuration.resolve(lambda name: values[name].value)


def of_flagfiles(*names):
    """The configuration that flagfiles give, one after another."""
    arguments = [f"--flagfile={EXPERIMENTS / name}" for name in names]
    return resolve(*command.with_flagfiles(arguments, EXPERIMENTS))


@pytest.mark.parametrize(
    "path", sorted(EXPERIMENTS.glob("*.flags")), ids=lambda path: path.name
)
def test_every_flagfile_parses_and_builds(path):
    base = ["emoji.flags"] if path.name == "smoke.flags" else []
    config = of_flagfiles(*base, path.name)
    counts = networks.parameter_counts(config, num_classes=9)
    assert len(counts) == 1 + len(config.strides)
    assert path.read_text().startswith("# ")


def test_paper_flagfiles_have_the_papers_sizes():
    ffhq, imagenet = of_flagfiles("ffhq.flags"), of_flagfiles("imagenet.flags")
    assert ffhq.map_sizes == [(32, 32), (64, 64), (128, 128)]
    assert imagenet.map_sizes == [(32, 32), (64, 64)]
    assert ffhq.prior_dropout == [0.5, 0.3, 0.25]
    assert ffhq.prior_layers == [20, 20, 10]
    assert ffhq.prior_learning_rate == [0.324, 0.324, 0.18]
    assert imagenet.prior_output_layers == [20, 0]
    assert imagenet.prior_steps == [1_600_000, 754_000]
    for config in (ffhq, imagenet):
        assert config.restart_after == 0
        assert (config.num_codes, config.code_dim) == (512, 64)
        assert config.learning_rate == 2e-4


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--image_size=30", "image_size.*30x30"),
        ("--image_size=16,16,3", "image_size"),
        ("--image_size=big", "image_size.*'big'"),
        ("--strides=6,2", "powers of two"),
        ("--strides=", "strides"),
        ("--channels=2", "channels"),
        ("--augment=twirl", "augment.*twirl"),
        ("--code_augment=shift,twirl", "code_augment.*twirl"),
        ("--prior_layers=1,2,3", "prior_layers.*top, bottom"),
        ("--prior_dropout=1.5", "prior_dropout.*1.5"),
        ("--prior_kernel_size=4", "prior_kernel_size.*odd"),
        ("--prior_heads=7", "prior_heads"),
        ("--prior_layers=4", "--prior_attention_every.*--prior_layers .4.*top"),
        ("--temperature=0", "temperature"),
        ("--dataset=", "dataset must be given"),
        ("--learning_rate=nan", "learning_rate.*finite"),
        ("--commitment_cost=inf", "commitment_cost.*finite"),
        ("--prior_learning_rate=inf", "prior_learning_rate"),
        ("--level=top", "--level is for --stage=prior"),
        ("--codes_dir=x", "--codes_dir is for --stage=prior"),
        ("--stage=prior", "--level.*top, bottom. Received: None"),
    ],
)
def test_bad_values_are_told_with_their_flag(argument, message):
    with pytest.raises(UserError, match=message) as caught:
        resolve("--dataset=emoji64", "--run_dir=x", argument)
    assert "\n" not in str(caught.value)


def test_an_augmenter_that_is_not_installed_is_told(monkeypatch):
    arguments = ["--dataset=emoji64", "--run_dir=x", "--augmenter=keras_cv"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="--augmenter=keras_cv needs.*install"):
        resolve(*arguments)
    assert resolve(*arguments[:-1]).augmenter == "tf_image"


@pytest.mark.parametrize(
    "argument", ["--steps=0", "--strategy=many", "--learning_rate=-1"]
)
def test_flags_out_of_range_are_told(argument):
    name = argument.partition("=")[0].lstrip("-")
    with pytest.raises(flags.IllegalFlagValueError, match=name):
        resolve(argument)


def test_a_folder_is_the_same_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    datasets = {
        resolve(f"--dataset=folder:{path}", "--run_dir=x").dataset
        for path in ("pictures", "./pictures/", tmp_path / "pictures")
    }
    assert datasets == {f"folder:{tmp_path / 'pictures'}"}
    remote = "folder:gs://bucket/pictures"
    assert resolve(f"--dataset={remote}", "--run_dir=x").dataset == remote


def test_fingerprints_tell_weights_apart(tmp_path):
    model = VQVAE2((2,), 2, 2, 1, 3, 2)
    model.build()
    before = extraction.fingerprint(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert extraction.fingerprint(loaded) == before
    variable = model.trainable_variables[-1]
    variable.assign(variable + 1)
    assert extraction.fingerprint(model) != before


def save_pictures(folder, size=(8, 8), count=6):
    rng = np.random.default_rng(0)
    for label in ("dark", "light"):
        (folder / label).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(100, size=(*size, 3)) + 150 * (
                label == "light"
            )
            Image.fromarray(pixels.astype("uint8")).save(
                folder / label / f"{i}.png"
            )


SMALL = """
--precision=float32
--image_size=8,8
--strides=2,2
--hidden_units=4
--residual_units=2
--residual_layers=1
--num_codes=6
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
"""


def limit_file_size():
    """As if the disk were full at the first file over 24 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (24_000, 24_000))


@pytest.fixture(scope="module")
def full_disk():
    """Filled by `small_run`: the result of its try on a full disk."""
    return {}


@pytest.fixture(scope="module")
def small_run(tmp_path_factory, full_disk):
    """The folder of a finished run over pictures, of `SMALL` flags."""
    folder = tmp_path_factory.mktemp("small")
    save_pictures(folder / "pictures")
    (folder / "small.flags").write_text(SMALL)
    full_disk["result"] = run_train(
        folder, own_process=True, preexec_fn=limit_file_size
    )
    result = run_train(folder, own_process=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


def run_train(folder, *arguments, **options):
    return run_script(
        folder,
        "experiments/train.py",
        "--flagfile=small.flags",
        "--dataset=folder:pictures",
        "--data_dir=tfds",
        "--run_dir=run",
        *arguments,
        **options,
    )


def run_script(folder, script, *arguments, own_process=False, **options):
    """Runs a script; a process of its own costs its imports."""
    if own_process:
        return subprocess.run(
            [sys.executable, ROOT / script, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            **options,
        )
    result = types.SimpleNamespace(returncode=0)
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()) as stdout,
        contextlib.redirect_stderr(io.StringIO()) as stderr,
    ):
        code = helpers.run_script(ROOT / script, *arguments)
        if isinstance(code, str):
            print(code, file=stderr)
        result.returncode = int(bool(code))
    result.stdout, result.stderr = stdout.getvalue(), stderr.getvalue()
    return result


def assert_one_sentence(result, *words):
    """The run failed and its last line, no stack trace, has the words."""
    assert result.returncode != 0
    assert "Traceback" not in result.stderr, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: "), result.stderr
    for word in words:
        assert word in last


def contents(folder):
    return {
        path: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_run_writes_everything(small_run):
    run = small_run / "run"
    metrics = json.loads((run / "metrics.json").read_text())
    assert {
        "mse",
        "psnr",
        "top_usage",
        "bottom_perplexity",
        "train_mse",
        "top_nll",
        "top_train_nll",
        "bottom_nll",
        "bits_per_image",
    } <= metrics.keys()
    positions = {"top": 4, "bottom": 16}
    expected = sum(
        metrics[f"{name}_nll"] * count / np.log(2)
        for name, count in positions.items()
    )
    assert metrics["bits_per_image"] == pytest.approx(expected)
    samples = Image.open(run / "samples.png")
    assert samples.height == 2 * (8 + 2) + 2
    assert Image.open(run / "reconstructions.png").width > 8
    for name in ("autoencoder", "generator"):
        assert (run / "saved_models" / name / "saved_model.pb").exists()
    for name in ("autoencoder", "prior_top", "prior_bottom"):
        assert list((run / name / "logs").glob("events*"))
        assert (run / name / "state.safetensors").exists()
    config = json.loads((run / "config.json").read_text())
    assert config["steps"] == 4
    assert config["precision"] == "float32"
    assert "raw_mse" in metrics
    assert not list(run.rglob(".writing*"))


def test_a_finished_run_is_left_as_it_is(small_run):
    before = contents(small_run / "run")
    result = run_train(small_run)
    assert result.returncode == 0, result.stderr[-3000:]
    assert contents(small_run / "run") == before


def test_missing_parts_are_made_again_and_are_the_same(small_run):
    run = small_run / "run"
    before = contents(run)
    shutil.rmtree(run / "prior_bottom")
    result = run_train(small_run)
    assert result.returncode == 0, result.stderr[-3000:]
    after = contents(run)
    for name in ("samples.png", "metrics.json", "codes/codes.json"):
        assert after[run / name] == before[run / name]


def test_stages_make_what_the_whole_makes(small_run):
    # Each stage in a folder that has no more than it needs.
    whole = small_run / "run"
    result = run_train(small_run, "--run_dir=staged", "--stage=codes")
    assert_one_sentence(result, "staged/autoencoder/model.keras")
    assert not (small_run / "staged").exists()
    shutil.copytree(whole / "codes", small_run / "copied")
    arguments = ["--stage=prior", "--codes_dir=copied", "--dataset=folder:no"]
    staged = small_run / "staged"
    for level in ("top", "bottom"):
        result = run_train(
            small_run, "--run_dir=staged", f"--level={level}", *arguments
        )
        assert result.returncode == 0, result.stderr[-3000:]
        made, expected = (
            keras.saving.load_model(run / f"prior_{level}" / "model.keras")
            for run in (staged, whole)
        )
        # Sums may be of another order where threads are.
        for one, other in zip(made.weights, expected.weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    for folder in ("autoencoder", "codes"):
        assert not (staged / folder).exists()
    result = run_train(
        small_run,
        "--run_dir=staged",
        "--stage=prior",
        "--level=top",
        "--dataset=folder:no",
    )
    assert_one_sentence(result, "staged/codes is no folder of extracted codes")


def test_evaluating_anew_gives_the_runs_own_figures(small_run):
    metrics = json.loads((small_run / "run" / "metrics.json").read_text())
    result = run_script(small_run, "tools/evaluate.py", "nll", "--run_dir=run")
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads(result.stdout)
    for level in ("top", "bottom"):
        for name, expected in (
            ("validation_nll", f"{level}_nll"),
            ("train_nll", f"{level}_train_nll"),
            ("validation_bits_per_image", f"{level}_bits_per_image"),
        ):
            value = found[level][name]
            assert value == pytest.approx(metrics[expected], rel=1e-5)
    result = run_script(small_run, "tools/evaluate.py", "--run_dir=run")
    assert_one_sentence(result, "one of nll")


def test_codes_of_other_pictures_are_extracted(small_run):
    arguments = ["--run_dir=run", "--output=other"]
    save_pictures(small_run / "others", size=(9, 12), count=3)
    result = run_script(
        small_run,
        "tools/extract_codes.py",
        *arguments,
        "--dataset=folder:others",
    )
    assert result.returncode == 0, result.stderr[-3000:]
    card = json.loads((small_run / "other" / "codes.json").read_text())
    assert sum(card["splits"].values()) >= 6
    result = run_script(small_run, "tools/extract_codes.py", *arguments)
    assert_one_sentence(result, "other/codes.json", "splits")


def test_an_ablation_prints_its_table_and_goes_on(small_run):
    arguments = [
        "--flagfile=small.flags",
        "--dataset=folder:no",
        "--level=bottom",
        "--codes_dir=run/codes",
        "--run_dir=ablation",
        "--prior_layers=2",
        "--hidden_units_grid=6",
        "--attention_grid=0,1",
        "--batch_size_grid=4",
    ]
    script = "experiments/ablate_prior.py"
    result = run_script(small_run, script, *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    text = (small_run / "ablation" / "table.txt").read_text()
    assert text in result.stdout
    rows = [line.split() for line in text.splitlines()[1:3]]
    sizes = [[int(word) for word in row[:4]] for row in rows]
    assert sizes == [[4, 6, 24, 0], [4, 6, 24, 1]]
    (effect,) = text.splitlines()[4:]
    assert effect.startswith("attention_layers: 0.")
    path = small_run / "ablation" / "h6_a1_b4" / "prior_bottom" / "result.json"
    assert rows[1][4] == f"{json.loads(path.read_text())['nll']:.4f}"
    path.write_text(json.dumps({"nll": 0.125, "train_nll": 0.0}))
    result = run_script(small_run, script, *arguments)
    assert "0.1250" in result.stdout
    result = run_script(
        small_run, script, *arguments, "--attention_grid=3", "--run_dir=other2"
    )
    assert_one_sentence(result, "--attention_grid", "--prior_layers=2")
    for argument in ("--stage=all", "--dry_run"):
        given = [a for a in arguments if "level" not in a and "codes" not in a]
        if argument == "--dry_run":
            given = arguments
        result = run_script(
            small_run, script, *given, argument, "--run_dir=other2"
        )
        assert_one_sentence(result, argument)
    assert not (small_run / "other2").exists()


def test_priors_of_another_autoencoders_codes_are_refused(small_run, tmp_path):
    shutil.copytree(small_run / "run", tmp_path / "run")
    card_path = tmp_path / "run" / "codes" / "codes.json"
    card = json.loads(card_path.read_text())
    card_path.write_text(json.dumps({**card, "fingerprint": "another"}))
    run_dir = f"--run_dir={tmp_path / 'run'}"
    result = run_train(small_run, run_dir, "--stage=prior", "--level=top")
    assert_one_sentence(result, card["fingerprint"], "another", "prior_top")
    result = run_script(small_run, "tools/evaluate.py", "nll", run_dir)
    assert_one_sentence(result, card["fingerprint"], "--codes_dir", "run/codes")
    assert "remove" not in result.stderr
    result = run_train(small_run, run_dir)
    assert_one_sentence(result, card["fingerprint"], "another", "codes.json")


@pytest.mark.parametrize("name", ["model.keras", "result.json"])
def test_damaged_files_of_a_run_are_named(small_run, tmp_path, name):
    shutil.copytree(small_run / "run", tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    (tmp_path / "run" / "autoencoder" / name).write_text("{")
    result = run_train(small_run, f"--run_dir={tmp_path / 'run'}")
    assert_one_sentence(result, f"autoencoder/{name}", "remove")


def test_a_damaged_training_state_is_named(small_run, tmp_path):
    shutil.copytree(small_run / "run", tmp_path / "run")
    prior = tmp_path / "run" / "prior_top"
    (prior / "model.keras").unlink()
    path = prior / "state.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    result = run_train(small_run, f"--run_dir={tmp_path / 'run'}")
    assert_one_sentence(result, "prior_top/state.safetensors", "remove")


def test_a_damaged_saved_model_is_named(small_run, tmp_path):
    for name in ("autoencoder", "generator"):
        saved = tmp_path / name
        shutil.copytree(small_run / "run" / "saved_models" / name, saved)
        for path in (saved / "variables").iterdir():
            path.unlink()
        kind = getattr(saved_models, name.capitalize())
        with pytest.raises(UserError, match=f"{name} cannot be loaded"):
            kind(str(saved))


def test_a_run_folder_of_other_flags_is_refused(small_run):
    before = contents(small_run / "run")
    result = run_train(small_run, "--num_codes=7")
    assert_one_sentence(result, "--num_codes (6 then, 7 now)", "--overwrite")
    # What it was computed in is known, though the flag said "auto".
    result = run_train(small_run, "--precision=bfloat16")
    assert_one_sentence(result, "--precision ('float32' then, 'bfloat16' now)")
    assert contents(small_run / "run") == before


def test_other_flags_of_sampling_draw_the_samples_again(small_run, tmp_path):
    shutil.copytree(small_run / "run", tmp_path / "run")
    before = contents(tmp_path / "run")
    config = types.SimpleNamespace(
        **json.loads(before[tmp_path / "run" / "config.json"])
    )
    config.run_dir, config.temperature = str(tmp_path / "run"), [0.5, 0.5]
    run_folder.check(config)
    run_folder.claim(config, run_entries)
    after = contents(tmp_path / "run")
    changed = {p.name for p in before if before[p] != after.get(p)}
    assert changed == {"samples.png", "config.json"}


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "file").write_text("no folder")
    for name in ("file", "file/run"):
        config = resolve("--dataset=emoji64", f"--run_dir={tmp_path / name}")
        with pytest.raises(UserError, match="run_dir"):
            run_folder.check(config)
    assert (tmp_path / "file").read_text() == "no folder"


def test_arguments_that_are_no_flags_are_refused(small_run):
    before = contents(small_run / "run")
    result = run_train(small_run, "--overwrite", "false")
    assert_one_sentence(result, "flags only", "false")
    assert contents(small_run / "run") == before


def test_a_folder_that_is_no_run_is_not_overwritten(small_run):
    (small_run / "mine").mkdir()
    (small_run / "mine" / "thesis.txt").write_text("irreplaceable")
    result = run_train(small_run, "--run_dir=mine", "--overwrite")
    assert_one_sentence(result, "--run_dir=mine")
    assert (small_run / "mine" / "thesis.txt").exists()


def test_what_another_process_trains_is_left_to_it(small_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(small_run / "run", run)
    (run / "prior_bottom" / "model.keras").unlink()
    before = contents(run)
    with lock(str(run / "prior_bottom")):
        for arguments in ([], ["--temperature=0.5"], ["--overwrite"]):
            result = run_train(small_run, f"--run_dir={run}", *arguments)
            assert_one_sentence(result, str(run / "prior_bottom"), "process")
            assert contents(run) == before
    result = run_train(small_run, f"--run_dir={run}")
    assert result.returncode == 0, result.stderr[-3000:]


def test_overwriting_waits_for_the_checks_and_spares_other_files(
    small_run, tmp_path
):
    shutil.copytree(small_run / "run", tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("irreplaceable")
    before = contents(tmp_path / "run")
    run_dir = f"--run_dir={tmp_path / 'run'}"
    result = run_train(small_run, run_dir, "--overwrite", "--strategy=mirrored")
    assert_one_sentence(result, "--strategy=mirrored")
    assert contents(tmp_path / "run") == before
    config = resolve(
        "--dataset=emoji64", run_dir, "--overwrite", "--image_size=64"
    )
    run_folder.claim(config, run_entries)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"config.json", "notes.txt"}


@pytest.mark.parametrize(
    "arguments", [["--flagfile=emoji.flags"], ["--flagfile", "emoji.flags"]]
)
def test_bare_flagfile_names_are_found_beside_the_script(
    arguments, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    arguments = [*arguments, "--steps=3"]
    found = command.with_flagfiles(arguments, EXPERIMENTS)
    assert found[0] == "--dataset=emoji64"
    assert found[-1] == "--steps=3"
    (tmp_path / "emoji.flags").write_text("# Mine.\n\n--steps=2\n")
    found = command.with_flagfiles(arguments, EXPERIMENTS)
    assert found == ["--steps=2", "--steps=3"]


def test_a_flagfile_names_others_of_its_own_folder(tmp_path):
    (tmp_path / "emoji.flags").write_text("--steps=2\n--seed=1")
    (tmp_path / "more.flags").write_text("--flagfile=emoji.flags\n--seed=3")
    arguments = [f"--flagfile={tmp_path}/more.flags"]
    found = command.with_flagfiles(arguments, EXPERIMENTS)
    assert found == ["--steps=2", "--seed=1", "--seed=3"]
    (tmp_path / "self.flags").write_text("--flagfile=self.flags")
    (tmp_path / "cifar.flags").write_text("--flagfile=cifar10.flags")
    (tmp_path / "bytes.flags").write_bytes(b"\xff")
    for name, message in (
        ("nothing", "nothing.flags.*no such file"),
        ("self", "self.flags.*names itself"),
        ("bytes", "bytes.flags.*text file"),
    ):
        arguments = [f"--flagfile={tmp_path / name}.flags"]
        with pytest.raises(SystemExit, match=message):
            command.with_flagfiles(arguments, EXPERIMENTS)
    arguments = [f"--flagfile={tmp_path}/cifar.flags"]
    assert "--dataset=cifar10" in command.with_flagfiles(arguments, EXPERIMENTS)


# Tables 1 and 2 of the supplement: hidden units, residual units, layers,
# attention layers, dropout, output stack, conditioning blocks, batch, steps,
# and c of the learning rate's formula.
PAPER_PRIORS = {
    "imagenet_top": (512, 2048, 20, 4, 0.1, 20, None, 1024, 1_600_000, 0.18),
    "imagenet_bottom": (512, 1024, 20, 0, 0.1, 0, 20, 512, 754_000, 0.18),
    "ffhq_top": (512, 2048, 20, 4, 0.5, 0, None, 1024, 237_000, 0.324),
    "ffhq_middle": (512, 1024, 20, 1, 0.3, 0, 8, 512, 57_400, 0.324),
    "ffhq_bottom": (512, 1024, 10, 0, 0.25, 0, 8, 256, 270_000, 0.18),
}


@pytest.mark.parametrize("name", PAPER_PRIORS)
def test_prior_flagfiles_have_the_tables_numbers(name):
    config = of_flagfiles(f"{name}.flags")
    whole = of_flagfiles(f"{name.partition('_')[0]}.flags")
    assert (config.stage, whole.stage) == ("prior", "all")
    level = config.level_names.index(config.level)
    assert name.endswith(config.level)
    every = config.prior_attention_every[level]
    numbers = (
        config.prior_hidden_units[level],
        config.prior_residual_units[level],
        config.prior_layers[level],
        config.prior_layers[level] // every if every else 0,
        config.prior_dropout[level],
        config.prior_output_layers[level],
        config.prior_conditioning_blocks[level] if level else None,
        config.prior_batch_size[level],
        config.prior_steps[level],
        config.prior_learning_rate[level],
    )
    assert numbers == PAPER_PRIORS[name]
    assert config.prior_kernel_size[level] == 5
    assert config.prior_polyak_decay[level] == 0.9999
    assert config.prior_schedule == "paper"
    # The same run, so that the priors of one folder go together.
    for flag in vars(config).keys() - {"stage", "level"}:
        assert getattr(config, flag) == getattr(whole, flag)


@pytest.mark.parametrize("name", ["ffhq", "imagenet"])
def test_the_benchmarks_networks_are_the_flagfiles(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    paper = importlib.import_module("benchmarks.paper")
    config = of_flagfiles(f"{name}.flags")
    assert paper.STAGE1[name] == {
        "image_size": config.image_size[0],
        "strides": tuple(config.strides),
    }
    for level, prior in enumerate(paper.PRIORS[name]):
        expected = {
            "map_size": config.map_sizes[level],
            "hidden_units": config.prior_hidden_units[level],
            "residual_units": config.prior_residual_units[level],
            "num_layers": config.prior_layers[level],
            "attention_every": config.prior_attention_every[level],
            "num_output_layers": config.prior_output_layers[level],
        }
        if level:
            expected |= {
                "coarser_map_sizes": tuple(config.map_sizes[:level]),
                "num_conditioning_blocks": (
                    config.prior_conditioning_blocks[level]
                ),
                "conditioning_units": config.prior_conditioning_units[level],
            }
        found = {"num_output_layers": 0, **prior}
        assert found.pop("num_classes", 1000) == 1000
        assert found == expected
    assert level + 1 == len(config.level_names)


def test_broken_pictures_are_named_and_trained_without(small_run, tmp_path):
    shutil.copy(small_run / "small.flags", tmp_path)
    shutil.copytree(small_run / "pictures", tmp_path / "pictures")
    (tmp_path / "pictures" / "dark" / "bad.jpg").write_bytes(b"no picture")
    # A process of its own, as logging keeps the first standard error.
    result = run_train(tmp_path, "--stage=autoencoder", own_process=True)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "skipped: dark/bad.jpg" in result.stderr
    whole, spared = (
        (folder / "run" / "autoencoder" / "result.json").read_bytes()
        for folder in (small_run, tmp_path)
    )
    assert spared == whole


def test_a_folder_without_a_sound_picture_is_told(small_run, tmp_path):
    shutil.copy(small_run / "small.flags", tmp_path)
    (tmp_path / "pictures").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "pictures" / name).write_bytes(b"")
    result = run_train(tmp_path)
    assert_one_sentence(result, "found 0 besides 2", "a.png, b.png")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_told_and_the_run_goes_on(small_run, full_disk):
    assert_one_sentence(full_disk["result"], "disk is full")
    assert (small_run / "run" / "metrics.json").exists()


def test_a_dry_run_writes_nothing(small_run):
    result = run_train(small_run, "--dry_run", "--run_dir=dry")
    assert result.returncode == 0
    assert "autoencoder: " in result.stdout
    assert not (small_run / "dry").exists()


def test_ffhq_that_is_not_there_is_told_with_where_to_get_it(tmp_path):
    result = run_script(
        ROOT,
        "experiments/train.py",
        "--flagfile=ffhq.flags",
        f"--data_dir={tmp_path}",
        f"--run_dir={tmp_path / 'run'}",
    )
    assert_one_sentence(
        result, "images1024x1024", str(tmp_path), "github.com/NVlabs"
    )

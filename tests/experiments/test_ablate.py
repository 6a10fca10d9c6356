"""Grids of flags: their points, and the table of their results."""

import importlib.util
import json
import pathlib

import pytest

from tests.helpers import integers
from vqvae2_tf.codes import records
from vqvae2_tf.commands import cli
from vqvae2_tf.level import hierarchical_levels

PATH = pathlib.Path(__file__).parents[2] / "experiments" / "ablate.py"
SPEC = importlib.util.spec_from_file_location("ablate", PATH)
ablate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ablate)

TINY = [
    "--dataset=none",
    "--stage=autoencoder",
    "--precision=float32",
    "--image_size=8",
    "--strides=2,2",
    "--num_codes=5",
    "--batch_size=2",
    "--steps=2",
    "--prior_hidden_units=4",
    "--prior_residual_units=2",
    "--prior_layers=1",
    "--prior_attention_every=0",
    "--prior_conditioning_blocks=1",
    "--prior_conditioning_units=4",
    "--prior_batch_size=2",
]
GRID = [
    "--grid=hidden_units:residual_units=4:2,6:3",
    "--grid=batch_size=2,3",
]


@pytest.fixture
def arguments(tmp_path):
    return [*TINY, f"--run_dir={tmp_path / 'runs'}"]


@pytest.fixture
def trained(monkeypatch):
    """Points that would be trained, instead of their training."""
    lines = []

    def train(line):
        lines.append(line)
        config = ablate.configuration.parse(line)
        folder = pathlib.Path(config.run_dir, "autoencoder")
        folder.mkdir(parents=True)
        mse = config.hidden_units + config.batch_size / 8
        result = {"mse": mse, "psnr": 20.0, "train_mse": mse / 2}
        (folder / "result.json").write_text(json.dumps(result))

    monkeypatch.setattr(ablate.train, "main", train)
    return lines


def test_each_point_is_a_run(arguments, trained, tmp_path, capsys):
    ablate.main([*arguments, *GRID])
    names = [line[-1].rpartition("/")[2] for line in trained]
    assert names == [
        f"hidden_units={units}_residual_units={units // 2}_batch_size={batch}"
        for units in (4, 6)
        for batch in (2, 3)
    ]
    text = (tmp_path / "runs" / "table.txt").read_text()
    assert text in capsys.readouterr().out
    head, *rows, _, units, batch = [line.split() for line in text.splitlines()]
    axes = ["hidden_units:residual_units", "batch_size"]
    assert head == [*axes, "mse", "psnr", "train_mse"]
    assert rows[1] == ["4:2", "3", "4.3750", "20.0000", "2.1875"]
    assert len(rows) == 4
    assert " ".join(units) == (
        "hidden_units:residual_units: 2.0000 between best and worst mse "
        "(4:2: 4.3125, 6:3: 6.3125)"
    )
    assert " ".join(batch) == (
        "batch_size: 0.1250 between best and worst mse (2: 5.2500, 3: 5.3750)"
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["--grid"]),
        (["--grid=batch_size"], ["--batch_size", "''"]),
        (["--grid=batch_size=2,x"], ["--batch_size", "'x'"]),
        (["--grid=batch_size:steps=2:1,3"], ["--steps", "''"]),
        (["--grid=batch_size=2:1"], ["--=1"]),
        (["--grid=strides=2,16"], ["--strides", "8x8"]),
        (["--grid=no_flag=1"], ["no_flag"]),
        ([*GRID, "--dry_run"], ["--dry_run"]),
        ([*GRID, "--stage=all"], ["--stage=all"]),
    ],
)
def test_bad_points_are_reported_before_any_is_trained(
    arguments, trained, flags, words
):
    with pytest.raises(SystemExit) as end:
        cli.run(ablate.main, [*arguments, *flags])
    assert all(word in end.value.code for word in words), end.value.code
    assert "\n" not in end.value.code
    assert not trained


@pytest.mark.large
def test_finished_points_are_not_trained_again(arguments, tmp_path, capsys):
    levels = hierarchical_levels((8, 8), (2, 2), 5)
    card = {
        "levels": [level.to_json() for level in levels],
        "class_names": [],
        "fingerprint": "an autoencoder's",
        "examples_per_shard": 4,
        "splits": {"train": 4, "validation": 4},
    }
    (tmp_path / "codes").mkdir()
    (tmp_path / "codes" / records.CARD).write_text(json.dumps(card))
    codes = [integers(5, *level.shape) for level in levels]
    for split in card["splits"]:
        (path,) = records.shard_paths(str(tmp_path / "codes"), split, card)
        records.write_shard(path, levels, [(codes, 0, b"id")] * 4)
    arguments = [
        *arguments,
        "--stage=prior",
        "--level=top",
        f"--codes_dir={tmp_path / 'codes'}",
        "--grid=prior_steps=1,2",
    ]
    cli.run(ablate.main, arguments)
    folder = tmp_path / "runs" / "prior_steps=1" / "prior_top"
    values = json.loads((folder / "result.json").read_text())
    assert f"{values['nll']:.4f}" in capsys.readouterr().out
    (folder / "result.json").write_text(json.dumps({**values, "nll": 0.125}))
    cli.run(ablate.main, arguments)
    assert "0.1250" in capsys.readouterr().out

"""Tests of names of results and of their rows."""

import json

import pytest

from vqvae2_tf.evaluation import results

pytestmark = pytest.mark.any_backend

OFFICIAL = {
    "network": "inception",
    "weights": "0a",
    "official_weights": True,
    "resize": "bilinear_tf1_299",
    "layer": "pool_3",
}


def test_only_the_official_features_give_the_fid():
    assert results.frechet_name(OFFICIAL) == "fid"
    assert results.kernel_name(OFFICIAL) == "kid"
    assert results.score_name(OFFICIAL) == "inception_score"
    for change in (
        {"official_weights": False},
        {"resize": "bilinear_299"},
        {"layer": "logits"},
    ):
        card = {**OFFICIAL, **change}
        assert results.frechet_name(card) == "fd_inception"
        assert results.kernel_name(card) == "kd_inception"
        assert results.score_name(card) == "is_inception"
    assert results.frechet_name({"network": "lite0"}) == "fd_lite0"


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("run:runs/a@validation", "@validation"),
        ("dataset:cifar10@train", "@train"),
        ("folder:a@b", ""),
        ("folder:train", ""),
    ],
)
def test_a_reference_is_told_by_its_split(text, split):
    assert results.split_of({"input": text}) == split


def test_rows_are_added_to_what_is_there(tmp_path):
    path = tmp_path / "metrics.jsonl"
    results.append(str(path), [{"name": "a", "value": 1.5}])
    path.write_text(path.read_text().rstrip())  # As an editor may leave it.
    before = path.stat().st_ino
    results.append(str(path), [{"name": "b"}, {"name": "c"}])
    # The same file: what another process adds at this time stays.
    assert path.stat().st_ino == before
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["name"] for row in rows] == ["a", "b", "c"]


def test_a_table_has_a_line_a_row():
    rows = [{"name": "fid", "value": 12.34567, "n": 100}, {"name": "rfid"}]
    assert results.as_table(rows, ["name", "value", "n"]).splitlines() == [
        "name  value   n",
        "fid   12.346  100",
        "rfid  -       -",
    ]

"""Codes of another tokenizer, shard by shard."""

import json

import numpy as np
import pytest

from tests.small_run import contents
from vqvae2_tf.codes import importing
from vqvae2_tf.codes import records
from vqvae2_tf.codes.arrays import open_codes
from vqvae2_tf.errors import UserError
from vqvae2_tf.level import Level

LEVELS = [Level("top", 1, 2, 100), Level("bottom", 2, 2, 100)]
CLASSES = ["even", "odd"]
COUNT = 23


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(importing, "EXAMPLES_PER_SHARD", 4)


def source(tmp_path, name="codes", dtype="int64", **changes):
    """Codes that name their image, which is odd or even."""
    numbers = np.arange(COUNT, dtype=dtype)
    arrays = {
        "top": np.repeat(numbers[:, None], 2, axis=1),
        "bottom": np.tile((COUNT - numbers)[:, None, None], (1, 2, 2)),
        "labels": numbers % 2,
        **changes,
    }
    path = tmp_path / f"{name}.npz"
    np.savez(path, **arrays)
    return open_codes(str(path), LEVELS, CLASSES)


def import_codes(codes, folder, seed=0):
    splits = importing.split(codes, 0.2, seed)
    return importing.import_codes(splits, str(folder), LEVELS, CLASSES)


def numbers_of(folder, card, split):
    """The images of a split, which have their codes and labels."""
    examples = records.code_examples(str(folder), card, split)
    found = []
    for example in examples.open().map(examples.read).as_numpy_iterator():
        top, bottom = example["codes"]
        number = top[0, 0]
        np.testing.assert_array_equal(top, np.full((1, 2), number))
        np.testing.assert_array_equal(bottom, np.full((2, 2), COUNT - number))
        assert example["label"] == number % 2
        found.append(int(number))
    return found


def test_every_image_is_in_one_split(tmp_path):
    codes = source(tmp_path)
    card = import_codes(codes, tmp_path / "a")
    assert card == records.read_card(str(tmp_path / "a"))
    assert card["splits"] == {"train": 18, "validation": 5}
    train, held_out = (
        numbers_of(tmp_path / "a", card, split) for split in card["splits"]
    )
    assert sorted(train + held_out) == list(range(COUNT))
    assert train != sorted(train)
    other = import_codes(codes, tmp_path / "b", seed=1)
    assert numbers_of(tmp_path / "b", other, "validation") != held_out


def test_one_image_at_least_is_in_each_split(tmp_path):
    codes = source(tmp_path)
    for share, held_out in ((1e-6, 1), (0.9, 21)):
        splits = importing.split(codes, share, 0)
        assert len(splits["validation"][1]) == held_out
    codes.count = 2
    assert [len(x) for _, x in importing.split(codes, 0.9, 0).values()] == [
        1,
        1,
    ]
    codes.count = 1
    with pytest.raises(UserError, match="two images or more"):
        importing.split(codes, 0.1, 0)


def test_contents_are_known_by_a_fingerprint(tmp_path):
    def fingerprint(seed=0, **changes):
        codes = source(tmp_path, **changes)
        splits = importing.split(codes, 0.2, seed)
        return importing._fingerprint(splits)

    first = fingerprint()
    assert len(first) == 16
    assert fingerprint(dtype="uint8", name="other") == first
    others = {
        fingerprint(seed=1),
        fingerprint(labels=np.ones(COUNT, int)),
        fingerprint(top=np.ones((COUNT, 2), int)),
    }
    assert len(others | {first}) == 4


def test_an_import_that_was_stopped_resumes(tmp_path, monkeypatch):
    codes, folder = source(tmp_path), tmp_path / "codes"
    import_codes(codes, folder)
    before = contents(folder)
    missing = "train-00002-of-00005.tfrecord"
    (folder / missing).unlink()
    written = []
    write = records.write_shard

    def noted(path, *arguments):
        written.append(path)
        write(path, *arguments)

    monkeypatch.setattr(records, "write_shard", noted)
    import_codes(codes, folder)
    assert written == [str(folder / missing)]
    assert contents(folder) == before
    message = "codes.json: .*different settings: fingerprint"
    with pytest.raises(UserError, match=message):
        import_codes(codes, folder, seed=1)


def test_nothing_is_written_of_codes_that_are_wrong(tmp_path):
    top = np.zeros((COUNT, 2), int)
    top[-1] = 100
    with pytest.raises(UserError, match="`top`: .* at most 99. Received: 100"):
        import_codes(source(tmp_path, top=top), tmp_path / "codes")
    assert not (tmp_path / "codes").exists()


def describe(tmp_path, **changes):
    level = {"name": "top", "height": 2, "width": 3, "num_codes": 9}
    card = {"levels": [level], **changes}
    card = {key: value for key, value in card.items() if value is not None}
    (tmp_path / "card.json").write_text(json.dumps(card))
    return importing.read_description(str(tmp_path / "card.json"))


def test_a_card_describes_levels_and_classes(tmp_path):
    level = Level("top", 2, 3, 9)
    assert describe(tmp_path) == ([level], [])
    assert describe(tmp_path, num_classes=3) == ([level], ["0", "1", "2"])
    assert describe(tmp_path, class_names=CLASSES) == ([level], CLASSES)


@pytest.mark.parametrize(
    "changes",
    [
        {"levels": None},
        {"levels": []},
        {"levels": {"top": 3}},
        {"levels": [{"name": "top", "height": 2, "width": 3}]},
        {"levels": [Level("top", 2, 3, None).to_json()]},
        {"levels": [Level("top", 2, 0, 4).to_json()]},
        {"levels": [Level("to/p", 2, 3, 4).to_json()]},
        {"levels": [Level("labels", 2, 3, 4).to_json()]},
        {"levels": [Level("top", 2, 3, 4).to_json()] * 2},
        {"levels": [{**Level("top", 2, 3, 4).to_json(), "stride": 2}]},
        {"class_names": ["cat", "cat"]},
        {"class_names": [1, 2]},
        {"class_names": "cat"},
        {"num_classes": "three"},
        {"num_classes": -3},
        {"class_names": CLASSES, "num_classes": 2},
        {"classes": CLASSES},
    ],
)
def test_another_card_is_refused(tmp_path, changes):
    with pytest.raises(UserError, match="--card=.*card.json: expected JSON"):
        describe(tmp_path, **changes)


def test_a_card_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "card.json"
    with pytest.raises(UserError, match="card.json: there is no such file"):
        importing.read_description(str(path))
    path.write_text("levels: 3")
    with pytest.raises(UserError, match="card.json is damaged; expected JSON"):
        importing.read_description(str(path))

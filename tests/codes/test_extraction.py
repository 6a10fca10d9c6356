"""Codes of a whole data set, shard by shard."""

import dataclasses
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import array
from tests.helpers import one_shard
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.codes import extraction
from vqvae2_tf.codes import records
from vqvae2_tf.data.batches import Examples
from vqvae2_tf.errors import UserError
from vqvae2_tf.files import atomic
from vqvae2_tf.files.lock import lock
from vqvae2_tf.training.tensorflow import TensorFlowDevices


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(extraction, "EXAMPLES_PER_SHARD", 4)
    monkeypatch.setattr(extraction, "_DEVICE_BATCH", 3)


def images(count):
    draws = np.random.default_rng(0).uniform(-1, 1, (count, 8, 8, 3))
    return draws.astype("float32")


def examples(count):
    """Images whose augmentation turns them upside down."""

    def read(example, seed=None):
        image = example["image"]
        image = image if seed is None else image[::-1]
        return {"image": image, "label": example["label"]}

    return Examples(
        one_shard(
            lambda: tf.data.Dataset.from_tensor_slices(
                {
                    "image": images(count),
                    "label": np.arange(count, dtype="int32"),
                    "id": [f"image {i}" for i in range(count)],
                }
            )
        ),
        [count],
        read,
    )


def make_model(seed=0):
    keras.utils.set_random_seed(seed)
    model = VQVAE2(
        strides=(2, 2),
        hidden_units=4,
        residual_units=2,
        residual_layers=1,
        num_codes=6,
        code_dim=3,
        seed=0,
    )
    model.build((None, 8, 8, 3))
    # The codebooks are taken from a first batch.
    model(images(8), training=True)
    return model


@pytest.fixture(scope="module")
def model():
    return make_model()


def extract(model, folder, strategy=None, train=None, devices=None):
    strategy = strategy or tf.distribute.get_strategy()
    return extraction.extract_codes(
        model,
        {"train": (train or examples(7), 2), "validation": (examples(5), 1)},
        str(folder),
        model.levels((8, 8)),
        {"class_names": []},
        devices or TensorFlowDevices(strategy),
        seed=0,
    )


def rows(folder, card, split):
    """Every record: its codes, a flat array a level, its label and its id."""
    found = []
    for path in records.shard_paths(str(folder), split, card):
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            codes = feature["codes"].bytes_list.value
            found.append(
                (
                    [np.frombuffer(level, "<u2") for level in codes],
                    feature["label"].int64_list.value[0],
                    feature["id"].bytes_list.value[0].decode(),
                )
            )
    return found


def test_codes_are_the_autoencoders_in_order_and_pass_by_pass(model, tmp_path):
    card = extract(model, tmp_path)
    assert card == records.read_card(str(tmp_path))
    levels = [level.to_json() for level in model.levels((8, 8))]
    assert card["levels"] == levels
    assert card["splits"] == {"train": 14, "validation": 5}
    train = images(7)
    expected = {
        "train": np.concatenate([train, train[:, ::-1]]),
        "validation": images(5),
    }
    for split, inputs in expected.items():
        found = rows(tmp_path, card, split)
        levels = [array(codes) for codes in model.encode(inputs)]
        assert len(found) == len(inputs)
        assert all(len(np.unique(level)) > 1 for level in levels)
        for i, (codes, label, example_id) in enumerate(found):
            number = i % (7 if split == "train" else 5)
            assert (label, example_id) == (number, f"image {number}")
            for one, other in zip(codes, levels, strict=True):
                np.testing.assert_array_equal(one, other[i].ravel())


def test_missing_shards_alone_are_made(model, tmp_path):
    card = extract(model, tmp_path)
    paths = records.shard_paths(str(tmp_path), "train", card)
    before = {path: tf.io.gfile.GFile(path, "rb").read() for path in paths}
    assert len(before) == 4
    for missing in ([0], [1, 2], [3], [0, 2]):
        kept = [path for i, path in enumerate(paths) if i not in missing]
        for i in missing:
            os.remove(paths[i])
        for path in kept:
            # Would be seen if it were written again.
            os.utime(path, (1, 1))
        extract(model, tmp_path)
        after = {path: tf.io.gfile.GFile(path, "rb").read() for path in paths}
        assert after == before
        assert all(os.stat(path).st_mtime == 1 for path in kept)


def test_shards_of_another_autoencoder_are_refused(model, tmp_path):
    card = extract(model, tmp_path)
    with pytest.raises(UserError, match=card["fingerprint"]) as caught:
        extract(make_model(seed=1), tmp_path)
    assert "\n" not in str(caught.value)
    assert records.read_card(str(tmp_path)) == card


def test_codes_that_another_process_writes_are_left_to_it(model, tmp_path):
    with lock(str(tmp_path)), pytest.raises(UserError, match="in use by anot"):
        extract(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_codes_in_an_earlier_order_are_not_mixed_with_those_of_now(
    model, tmp_path
):
    three = dataclasses.replace(examples(7), shard_lengths=[3, 4])
    card = extract(model, tmp_path, train=three)
    assert card["order"] == extraction.ORDER
    # An earlier version's.
    del card["order"]
    atomic.write_json(str(tmp_path / records.CARD), card)
    assert extract(model, tmp_path, train=three) == card
    os.remove(records.shard_paths(str(tmp_path), "train", card)[0])
    with pytest.raises(UserError, match=r"codes.json.*order \(not set then"):
        extract(model, tmp_path, train=three)
    # One shard was always read in its order.
    assert extract(model, tmp_path) == card


def test_fingerprints_are_those_of_the_weights(tmp_path):
    model = make_model()
    before = extraction.fingerprint(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert extraction.fingerprint(loaded) == before
    variable = model.trainable_variables[-1]
    variable.assign(variable + 1)
    assert extraction.fingerprint(model) != before


REPLICAS = """
import sys
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
from tests.codes import test_extraction

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = test_extraction.make_model()
test_extraction.extract(model, sys.argv[1], strategy)
"""


def test_replicas_extract_what_one_device_does(model, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", REPLICAS, str(tmp_path / "two")],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    card = extract(model, tmp_path / "one")
    two = records.read_card(str(tmp_path / "two"))
    # Shards there are of the usual size.
    assert two["examples_per_shard"] == 4096
    for split in card["splits"]:
        for one, other in zip(
            rows(tmp_path / "one", card, split),
            rows(tmp_path / "two", two, split),
            strict=True,
        ):
            assert one[1:] == other[1:]
            for codes, expected in zip(one[0], other[0], strict=True):
                np.testing.assert_array_equal(codes, expected)


def test_hosts_write_parts_of_the_shards_and_together_all(
    model, tmp_path, monkeypatch
):
    alone = extract(model, tmp_path / "alone")
    folder = tmp_path / "together"
    written = []
    for host in range(3):
        monkeypatch.setattr(atomic, "is_chief", host == 0)
        devices = TensorFlowDevices(tf.distribute.get_strategy())
        devices.share = host, 3
        assert extract(model, folder, devices=devices) == alone
        written.append(len(list(folder.glob("*.tfrecord"))))
    # Of train's 4 shards and the 2 of validation.
    assert written == [1, 3, 6]
    for path in (tmp_path / "alone").iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()

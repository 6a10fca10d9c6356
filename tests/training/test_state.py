"""Training states on disk: round trips, names, and unusable files."""

import json
import struct

import keras
import numpy as np
import pytest

from tests.helpers import array
from vqvae2_tf.errors import UserError
from vqvae2_tf.training import state

pytestmark = pytest.mark.any_backend

ARRAYS = {
    "model/0000.kernel": np.arange(6, dtype="float32").reshape(2, 3),
    "model/0001.seed": np.array([7, 2**32 - 1], "int64"),
    "model/0002.initialized": np.array(True),
    "model/0003.empty": np.zeros((2, 0), "uint8"),
    "counters/lowest": np.float64(np.inf),
}


@pytest.mark.parametrize("remote", [False, True])
def test_arrays_survive_a_round_trip(remote, tmp_path):
    # TensorFlow's ram:// goes where gs:// does: through tf.io.gfile.
    path = f"{'ram://run' if remote else tmp_path}/folder/state.safetensors"
    state.write_arrays(path, {"old": np.zeros(3, "float16")})
    turned = {**ARRAYS, "model/0000.kernel": ARRAYS["model/0000.kernel"].T}
    state.write_arrays(path, turned)
    found = state.read_arrays(path, turned)
    assert found.keys() == turned.keys()
    for name, expected in turned.items():
        assert (found[name].dtype, found[name].shape) == (
            expected.dtype,
            expected.shape,
        )
        np.testing.assert_array_equal(found[name], expected)


def test_integers_are_read_in_the_dtype_of_this_backend(tmp_path):
    path = str(tmp_path / "state.safetensors")
    state.write_arrays(path, ARRAYS)
    other = {**ARRAYS, "model/0001.seed": np.zeros(2, "uint32")}
    found = state.read_arrays(path, other)["model/0001.seed"]
    assert found.dtype == "uint32"
    np.testing.assert_array_equal(found, ARRAYS["model/0001.seed"])
    other["model/0001.seed"] = np.zeros(2, "int32")  # Too small.
    with pytest.raises(UserError, match="model/0001.seed"):
        state.read_arrays(path, other)


def foreign(dtype):
    header = {"x": {"dtype": dtype, "shape": [2], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(4)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:9]), "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_bytes(bytes(100)), "damaged"),
        (lambda path: path.write_bytes(foreign("BF16")), ""),
        (lambda path: path.write_bytes(foreign("F16")), "another network"),
        (
            lambda path: state.write_arrays(
                str(path), {**ARRAYS, "a": np.zeros(1)}
            ),
            "different: a)",
        ),
        (
            lambda path: state.write_arrays(
                str(path), {**ARRAYS, "model/0000.kernel": np.zeros((3, 2))}
            ),
            "different: model/0000.kernel)",
        ),
        (
            lambda path: state.write_arrays(
                str(path), {**ARRAYS, "counters/lowest": np.float32(1)}
            ),
            "different: counters/lowest)",
        ),
    ],
)
def test_unusable_files_are_reported_in_one_sentence(change, word, tmp_path):
    path = tmp_path / "state.safetensors"
    state.write_arrays(str(path), ARRAYS)
    change(path)
    with pytest.raises(UserError, match=f"{path}.*remove it") as caught:
        state.read_arrays(str(path), ARRAYS)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def parts_of_a_network(value):
    """Variables as a trainer has them; Keras numbers each network's paths."""
    keras.utils.set_random_seed(value)
    model = keras.Sequential(
        [keras.layers.Dense(2), keras.layers.Dropout(0.5, seed=value)]
    )
    model.build((None, 3))
    optimizer = keras.optimizers.Adam(0.1 * value)
    optimizer.build(model.trainable_variables)
    for variable in (*model.variables, *optimizer.variables):
        variable.assign(variable + value)
    return {
        "model": model.variables,
        "optimizer/loss": optimizer.variables,
    }


def test_a_state_is_restored_into_a_network_of_other_paths(tmp_path):
    one, other = parts_of_a_network(1), parts_of_a_network(2)
    assert one["model"][0].path != other["model"][0].path
    state.restore_state(str(tmp_path), other, {})  # There is none yet.
    state.save_state(str(tmp_path), one, {"lowest": 0.1})
    with pytest.raises(UserError, match="counters/lowest"):
        state.restore_state(str(tmp_path), other, {})
    for group, variables in one.items():
        for a, b in zip(variables, other[group], strict=True):
            assert not np.array_equal(array(a), array(b))
    counters = {"lowest": 0.0}
    state.restore_state(str(tmp_path), other, counters)
    assert counters == {"lowest": 0.1}
    for group, variables in one.items():
        for a, b in zip(variables, other[group], strict=True):
            np.testing.assert_array_equal(array(a), array(b))


def test_names_are_the_same_on_every_backend(tmp_path):
    state.save_state(str(tmp_path), parts_of_a_network(1), {"lowest": 0.1})
    data = (tmp_path / state.STATE_FILE).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert json.loads(data[8 : 8 + length]).keys() == {
        "model/0000.kernel",
        "model/0001.bias",
        "model/0002.seed_generator_state",
        "optimizer/loss/0000.iteration",
        "optimizer/loss/0001.rate",
        "optimizer/loss/0002.momentum",
        "optimizer/loss/0003.velocity",
        "optimizer/loss/0004.momentum",
        "optimizer/loss/0005.velocity",
        "counters/lowest",
    }


def test_the_steps_of_a_state_are_read_alone(tmp_path):
    folder = str(tmp_path)
    assert state.steps_taken(folder) is None
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build([keras.Variable(np.zeros((3, 2), "float32"))])
    optimizer.iterations.assign(70_000)
    variables = {"optimizer/loss": optimizer.variables}
    state.save_state(folder, variables, {"lowest": 1.0})
    assert state.steps_taken(folder) == 70_000
    path = tmp_path / state.STATE_FILE
    whole = path.read_bytes()
    for damaged in (b"", whole[:100], b"\xff" * 64, b"{}" * 40):
        path.write_bytes(damaged)
        assert state.steps_taken(folder) is None

"""The Inception network against torch-fidelity's, on seeded random weights."""

import pickle
import sys
import types
import zipfile
import zlib

import numpy as np
import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation.networks import inception
from vqvae2_tf.evaluation.networks.inception import Inception

# Of torch-fidelity 0.4.0 on torch 2.14.1 (CPU) with the weights of `weight`:
# every 256th feature, every 126th of `logits_unbiased`, and of the first seven
# channels of Mixed_6d.branch1x1 every 289th value, of both images.
GOLDENS = {
    (40, 33): (
        [
            [
                0.4628137,
                1.257557,
                18.06234,
                0.6276808,
                3.193622,
                0.9368077,
                6.808529,
                5.829426,
            ],
            [
                0.3206331,
                1.317046,
                18.79487,
                0.6642927,
                3.566497,
                1.282696,
                6.576348,
                6.449265,
            ],
        ],
        [
            [
                -3.512252,
                7.810832,
                17.65411,
                10.58719,
                1.458437,
                -5.506054,
                6.412397,
                5.833788,
            ],
            [
                -3.286567,
                7.713373,
                18.64714,
                11.29655,
                1.062656,
                -5.380601,
                6.490705,
                5.89671,
            ],
        ],
        [
            [0.503993, 1.173912, 0, 0.09115215, 5.554151, 0, 9.035469],
            [0.3543835, 0.5960488, 0, 0.6453393, 6.416122, 0, 11.41533],
        ],
    ),
    (310, 350): (
        [
            [
                0.3701119,
                1.648374,
                17.96669,
                0.620383,
                3.305654,
                1.041916,
                7.079324,
                5.941814,
            ],
            [
                0.3585613,
                1.602456,
                19.76833,
                0.678084,
                3.472312,
                1.318402,
                6.708079,
                6.356205,
            ],
        ],
        [
            [
                -2.850989,
                7.647212,
                17.29879,
                10.32673,
                1.430443,
                -5.305752,
                6.513978,
                6.20236,
            ],
            [
                -3.24706,
                7.725945,
                19.8835,
                12.31268,
                1.352476,
                -5.522597,
                6.746558,
                6.224743,
            ],
        ],
        [
            [0.4195457, 0.874601, 0, 2.65765, 7.163538, 0, 9.118278],
            [0.3583802, 0.4314956, 0, 0, 7.938274, 0, 8.381164],
        ],
    ),
}


def weight(name, shape):
    """A weight that depends on its name alone."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values = rng.random(shape)
    if name.endswith(("bn.weight", "running_var")):
        values += 0.5
    elif len(shape) > 1:
        values = (2 * values - 1) * np.sqrt(6 / np.prod(shape[1:]))
    else:
        values = (values - 0.5) * 0.2
    return values.astype("float32")


def images(height, width):
    """Two images of noisy blocks."""
    rng = np.random.default_rng(height)
    blocks = rng.integers(256, size=(2, 5, 4, 3))
    rows = np.arange(height) * 5 // height
    columns = np.arange(width) * 4 // width
    noise = rng.integers(-20, 21, size=(2, height, width, 3))
    pixels = blocks[:, rows][:, :, columns] + noise
    return np.clip(pixels, 0, 255).astype("uint8")


def random_state_dict():
    """The network's weights by their names in the state dict."""
    import keras

    shapes = {"fc.weight": (1008, 2048)}
    network = Inception.__new__(Inception)
    with keras.StatelessScope(initialize_variables=False):
        network.connect(keras.Input((299, 299, 3)))
    for name, layer in network._layers.items():
        if name.endswith(".conv"):
            height, width, inputs, outputs = layer.kernel.shape
            shapes[f"{name}.weight"] = (outputs, inputs, height, width)
        elif name.endswith(".bn"):
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{name}.{part}"] = (layer.gamma.shape[0],)
    return {name: weight(name, shape) for name, shape in shapes.items()}


def save_state_dict(path, arrays):
    """Writes arrays as `torch.save` does."""
    utils = types.ModuleType("torch._utils")
    torch = types.ModuleType("torch")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})

    def _rebuild_tensor_v2(*args):
        """Named in the pickle."""

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2

    class Storage:
        def __init__(self, key, count):
            self.pid = ("storage", torch.FloatStorage, key, "cpu", count)

    class Tensor:
        def __init__(self, key, array):
            strides = tuple(s // 4 for s in array.strides)
            storage = Storage(key, array.size)
            self.parts = (storage, 0, array.shape, strides, False, {})

        def __reduce__(self):
            return _rebuild_tensor_v2, self.parts

    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            return item.pid if isinstance(item, Storage) else None

    tensors = {n: Tensor(str(i), a) for i, (n, a) in enumerate(arrays.items())}
    with (
        pytest.MonkeyPatch.context() as patch,
        zipfile.ZipFile(path, "w") as file,
    ):
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        with file.open("archive/data.pkl", "w") as index:
            Pickler(index, 2).dump(tensors)
        for i, array in enumerate(arrays.values()):
            file.writestr(f"archive/data/{i}", array.tobytes())


def save_graph(path, arrays):
    """Writes arrays as the constants of a frozen graph, by its names."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()

    def add(name, value):
        node = graph.node.add(op="Const", name=name)
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))

    add("softmax/weights", arrays["fc.weight"].T)
    for name, scope in inception._scopes():
        kernel = arrays[f"{name}.conv.weight"]
        add(f"{scope}/conv2d_params", np.transpose(kernel, (2, 3, 1, 0)))
        for old, new in (
            ("gamma", "weight"),
            ("beta", "bias"),
            ("moving_mean", "running_mean"),
            ("moving_variance", "running_var"),
        ):
            add(f"{scope}/batchnorm/{old}", arrays[f"{name}.bn.{new}"])
    path.write_bytes(graph.SerializeToString())


@pytest.mark.large
@pytest.mark.any_backend
@pytest.mark.parametrize("size", GOLDENS)
def test_outputs_are_torch_fidelitys(size):
    found = Inception(random_state_dict())(images(*size))
    features, logits, spatial = GOLDENS[size]
    assert found["features"].shape == (2, 2048)
    assert found["logits"].shape == (2, 1008)
    # Features reach 20; logits are sums of 2,048 of them.
    np.testing.assert_allclose(
        found["features"][:, ::256], features, rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        found["logits"][:, ::126], logits, rtol=1e-4, atol=1e-3
    )
    assert found["spatial"].shape == (2, 2023)
    np.testing.assert_allclose(
        found["spatial"][:, ::289], spatial, rtol=1e-4, atol=1e-4
    )


@pytest.mark.large
def test_both_files_give_the_same_network(tmp_path):
    from vqvae2_tf.runs.feature_networks import open_network

    arrays = random_state_dict()
    save_state_dict(tmp_path / "inception.pth", arrays)
    save_graph(tmp_path / "inception.pb", arrays)
    paths = (tmp_path / "inception.pth", tmp_path / "inception.pb")
    first, second = (open_network("inception", str(path)) for path in paths)
    assert first.weights_hash == second.weights_hash
    # These are no published weights.
    assert not first.is_official
    features, *_ = GOLDENS[40, 33]
    for network in (first, second):
        found = network(images(40, 33))["features"]
        np.testing.assert_allclose(
            found[:, ::256], features, rtol=1e-4, atol=1e-4
        )


@pytest.mark.any_backend
def test_the_scopes_are_the_published_graphs():
    scopes = dict(inception._scopes())
    assert len(scopes) == len(set(scopes.values())) == 94
    # As torch-fidelity's converter pairs them.
    assert scopes["Conv2d_1a_3x3"] == "conv"
    assert scopes["Conv2d_4a_3x3"] == "conv_4"
    assert scopes["Mixed_5b.branch5x5_2"] == "mixed/tower/conv_1"
    assert scopes["Mixed_5d.branch_pool"] == "mixed_2/tower_2/conv"
    assert scopes["Mixed_6a.branch3x3dbl_3"] == "mixed_3/tower/conv_2"
    assert scopes["Mixed_6e.branch7x7dbl_5"] == "mixed_7/tower_1/conv_4"
    assert scopes["Mixed_7a.branch3x3_2"] == "mixed_8/tower/conv_1"
    assert scopes["Mixed_7a.branch7x7x3_4"] == "mixed_8/tower_1/conv_3"
    assert scopes["Mixed_7b.branch3x3_2b"] == "mixed_9/tower/mixed/conv_1"
    assert scopes["Mixed_7c.branch3x3dbl_3a"] == "mixed_10/tower_1/mixed/conv"
    assert scopes["Mixed_7c.branch1x1"] == "mixed_10/conv"


@pytest.mark.any_backend
def test_the_weights_must_be_given():
    with pytest.raises(UserError, match="--network=inception needs --weights"):
        Inception.default_weights()

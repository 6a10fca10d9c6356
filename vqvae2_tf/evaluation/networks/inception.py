"""The Inception network of FID: the graph of 2015-12-05.

The published graph differs from every later Inception-v3: 1,008 classes, images
resized without half-pixel centres, average pools that leave the padding out,
and a max pool in the pool branch of the last block (Szegedy et al. 2015; Heusel
et al. 2017 for the distance). It is given by `--weights`: either by
`classify_image_graph_def.pb` itself, or by the state dict that pytorch-fid and
torch-fidelity have converted from it (`pt_inception-2015-12-05-6726825d.pth`).

Logits are the features times the classifier's kernel, without its bias, as in
every published Inception Score since Salimans et al. 2016.
"""

import numpy as np
from keras import layers
from keras import ops

from vqvae2_tf.evaluation.networks import resizing
from vqvae2_tf.evaluation.networks.base import FeatureNetwork

# Each convolution: name in the state dict, filters, kernel's height and width,
# and stride. Those of stride 2 have no padding. The stem's have it in one case.
_STEM = (
    ("Conv2d_1a_3x3", 32, 3, 3, 2),
    ("Conv2d_2a_3x3", 32, 3, 3, 1),
    ("Conv2d_2b_3x3", 64, 3, 3, 1),
    ("Conv2d_3b_1x1", 80, 1, 1, 1),
    ("Conv2d_4a_3x3", 192, 3, 3, 1),
)
_PADDED = "Conv2d_2b_3x3"
# The block whose first branch sFID looks at: mixed_6/conv of the graph.
_SPATIAL = "Mixed_6d"


def _block_35(pool):
    return {
        "": [("branch1x1", 64, 1, 1, 1)],
        "tower": [("branch5x5_1", 48, 1, 1, 1), ("branch5x5_2", 64, 5, 5, 1)],
        "tower_1": [
            ("branch3x3dbl_1", 64, 1, 1, 1),
            ("branch3x3dbl_2", 96, 3, 3, 1),
            ("branch3x3dbl_3", 96, 3, 3, 1),
        ],
        "tower_2": ["average", ("branch_pool", pool, 1, 1, 1)],
    }


def _block_17(width):
    return {
        "": [("branch1x1", 192, 1, 1, 1)],
        "tower": [
            ("branch7x7_1", width, 1, 1, 1),
            ("branch7x7_2", width, 1, 7, 1),
            ("branch7x7_3", 192, 7, 1, 1),
        ],
        "tower_1": [
            ("branch7x7dbl_1", width, 1, 1, 1),
            ("branch7x7dbl_2", width, 7, 1, 1),
            ("branch7x7dbl_3", width, 1, 7, 1),
            ("branch7x7dbl_4", width, 7, 1, 1),
            ("branch7x7dbl_5", 192, 1, 7, 1),
        ],
        "tower_2": ["average", ("branch_pool", 192, 1, 1, 1)],
    }


def _block_8(pool):
    # A tuple of two convolutions of one input, whose outputs are joined.
    return {
        "": [("branch1x1", 320, 1, 1, 1)],
        "tower": [
            ("branch3x3_1", 384, 1, 1, 1),
            (("branch3x3_2a", 384, 1, 3, 1), ("branch3x3_2b", 384, 3, 1, 1)),
        ],
        "tower_1": [
            ("branch3x3dbl_1", 448, 1, 1, 1),
            ("branch3x3dbl_2", 384, 3, 3, 1),
            (
                ("branch3x3dbl_3a", 384, 1, 3, 1),
                ("branch3x3dbl_3b", 384, 3, 1, 1),
            ),
        ],
        "tower_2": [pool, ("branch_pool", 192, 1, 1, 1)],
    }


# Name in the state dict, and the branches by their scopes in the graph.
_BLOCKS = (
    ("Mixed_5b", _block_35(32)),
    ("Mixed_5c", _block_35(64)),
    ("Mixed_5d", _block_35(64)),
    (
        "Mixed_6a",
        {
            "": [("branch3x3", 384, 3, 3, 2)],
            "tower": [
                ("branch3x3dbl_1", 64, 1, 1, 1),
                ("branch3x3dbl_2", 96, 3, 3, 1),
                ("branch3x3dbl_3", 96, 3, 3, 2),
            ],
            "pool": ["shrink"],
        },
    ),
    ("Mixed_6b", _block_17(128)),
    ("Mixed_6c", _block_17(160)),
    ("Mixed_6d", _block_17(160)),
    ("Mixed_6e", _block_17(192)),
    (
        "Mixed_7a",
        {
            "tower": [
                ("branch3x3_1", 192, 1, 1, 1),
                ("branch3x3_2", 320, 3, 3, 2),
            ],
            "tower_1": [
                ("branch7x7x3_1", 192, 1, 1, 1),
                ("branch7x7x3_2", 192, 1, 7, 1),
                ("branch7x7x3_3", 192, 7, 1, 1),
                ("branch7x7x3_4", 192, 3, 3, 2),
            ],
            "pool": ["shrink"],
        },
    ),
    ("Mixed_7b", _block_8("average")),
    ("Mixed_7c", _block_8("max")),
)


class Inception(FeatureNetwork):
    """Inception-v3 as FID has it; see the module.

    Beside features and logits it returns `spatial` `[B, 2023]`, the features of
    sFID (Nash et al. 2021): seven channels of a map of 17x17 positions.

    Args:
        arrays: Weights by the names of the state dict, or of the graph.
    """

    name = "inception"
    input_size = 299
    resize = staticmethod(resizing.bilinear_tf1)
    layer = "pool_3"
    dims = 2048
    classes = 1008
    official_files = (
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    )

    def connect(self, images):
        self._layers = {}
        x = (images - 128.0) / 128.0
        for i, convolution in enumerate(_STEM):
            padded = convolution[0] == _PADDED
            x = self._convolve(x, "", convolution, padded)
            if i in (2, 4):
                x = layers.MaxPooling2D(3, 2)(x)
        for block, branches in _BLOCKS:
            outputs = [self._branch(x, block, b) for b in branches.values()]
            x = ops.concatenate(outputs, axis=-1)
            if block == _SPATIAL:
                spatial = layers.Flatten()(outputs[0][..., :7])
        features = layers.GlobalAveragePooling2D()(x)
        self._layers["fc"] = layers.Dense(
            self.classes, use_bias=False, name="fc"
        )
        logits = self._layers["fc"](features)
        return {"features": features, "logits": logits, "spatial": spatial}

    def _branch(self, x, block, steps):
        for step in steps:
            if step == "average":
                x = layers.AveragePooling2D(3, 1, "same")(x)
            elif step == "max":
                x = layers.MaxPooling2D(3, 1, "same")(x)
            elif step == "shrink":
                x = layers.MaxPooling2D(3, 2)(x)
            elif isinstance(step[0], tuple):
                fork = [self._convolve(x, block, one) for one in step]
                x = ops.concatenate(fork, axis=-1)
            else:
                x = self._convolve(x, block, step)
        return x

    def _convolve(self, x, block, convolution, padded=None):
        name, filters, *kernel, stride = convolution
        name = f"{block}.{name}" if block else name
        if padded is None:
            padded = stride == 1
        convolve = layers.Conv2D(
            filters,
            kernel,
            stride,
            "same" if padded else "valid",
            use_bias=False,
            name=f"{name}.conv".replace(".", "_"),
        )
        normalize = layers.BatchNormalization(
            epsilon=1e-3, name=f"{name}.bn".replace(".", "_")
        )
        self._layers[f"{name}.conv"] = convolve
        self._layers[f"{name}.bn"] = normalize
        return ops.relu(normalize(convolve(x)))

    def weights_of(self, arrays):
        if "softmax/weights" in arrays:
            arrays = self._renamed(arrays)
        for name, layer in self._layers.items():
            if name == "fc":
                yield layer, [self.find(arrays, "fc.weight").T]
            elif name.endswith(".conv"):
                kernel = self.find(arrays, f"{name}.weight")
                yield layer, [np.transpose(kernel, (2, 3, 1, 0))]
            else:
                parts = ("weight", "bias", "running_mean", "running_var")
                yield layer, [self.find(arrays, f"{name}.{p}") for p in parts]

    def _renamed(self, graph):
        """The graph's weights, as the state dict has them."""
        arrays = {"fc.weight": self.find(graph, "softmax/weights").T}
        for name, scope in _scopes():
            kernel = self.find(graph, f"{scope}/conv2d_params")
            kernel = np.transpose(kernel, (3, 2, 0, 1))
            arrays[f"{name}.conv.weight"] = kernel
            for old, new in (
                ("gamma", "weight"),
                ("beta", "bias"),
                ("moving_mean", "running_mean"),
                ("moving_variance", "running_var"),
            ):
                value = self.find(graph, f"{scope}/batchnorm/{old}")
                arrays[f"{name}.bn.{new}"] = value
        return arrays


def _scopes():
    """Each convolution's name in the state dict and its scope in the graph."""
    for i, (name, *_) in enumerate(_STEM):
        yield name, _numbered("conv", i)
    for i, (block, branches) in enumerate(_BLOCKS):
        for tower, steps in branches.items():
            scope = "/".join(filter(None, [_numbered("mixed", i), tower]))
            convolutions = [s for s in steps if not isinstance(s, str)]
            for j, step in enumerate(convolutions):
                if isinstance(step[0], tuple):
                    for k, one in enumerate(step):
                        inner = f"{scope}/mixed/{_numbered('conv', k)}"
                        yield f"{block}.{one[0]}", inner
                else:
                    inner = f"{scope}/{_numbered('conv', j)}"
                    yield f"{block}.{step[0]}", inner


def _numbered(name, i):
    return f"{name}_{i}" if i else name


Model = Inception

"""Shift-tolerant LPIPS with AlexNet: works offline (Ghildyal and Liu 2022).

Pools are blurred before they are subsampled, so that a shift by a pixel matters
little. Another distance than LPIPS, and never called so. The weights are in the
package `stlpips-pytorch` (64 MB): `pip install stlpips-pytorch`.
"""

import importlib.util
import os

import numpy as np
from keras import layers
from keras import ops

from vqvae2_tf.errors import UserError
from vqvae2_tf.evaluation.perceptual.base import PerceptualDistance

_FILE = "weights/vST0.0/alex_shift_tolerant.pth"


class STLPIPSAlex(PerceptualDistance):
    """Shift-tolerant LPIPS 0.0 with AlexNet."""

    name = "stlpips_alex"
    published_files = (
        ("b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",),
    )

    @classmethod
    def default_weights(cls):
        package = importlib.util.find_spec("stlpips_pytorch")
        if package is None:
            raise UserError(
                "--perceptual=stlpips_alex needs the package stlpips-pytorch: "
                "pip install stlpips-pytorch."
            )
        return [os.path.join(os.path.dirname(package.origin), _FILE)]

    def stages(self, x):
        x = self.convolve(x, "net.slice1.0", padding=2)
        x = layers.ReLU()(_blurred(x))
        found = [x]
        for i, (name, padding) in enumerate(self._names()):
            if i < 2:
                x = _blurred(layers.MaxPooling2D(3, 1)(x))
            x = layers.ReLU()(self.convolve(x, name, padding=padding))
            found.append(x)
        return found

    def _names(self):
        """Names of the other convolutions, in order, and their padding."""
        names = {n.removesuffix(".weight") for n in self._arrays}
        parts = [n.split(".") for n in names if n.startswith("net.slice")]
        order = sorted({(int(p[1][5:]), int(p[2])) for p in parts})
        names = [f"net.slice{a}.{b}" for a, b in order]
        names = [n for n in names if f"{n}.bias" in self._arrays]
        return zip(names[1:], (2, 1, 1, 1), strict=True)


def _blurred(x):
    """Every second position of a map blurred by [1, 2, 1]."""
    x = ops.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), "reflect")
    kernel = np.outer([1, 2, 1], [1, 2, 1]).astype("float32") / 16
    kernel = np.tile(kernel[..., None, None], (1, 1, x.shape[-1], 1))
    return ops.depthwise_conv(x, kernel, 2, "valid")


Model = STLPIPSAlex

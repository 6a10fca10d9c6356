"""LPIPS with VGG-16 (Zhang et al. 2018).

The weights are two published files, which `--perceptual_weights` names:
torchvision's `vgg16-397923af.pth` and `weights/v0.1/vgg.pth` of the package
`lpips`.
"""

from keras import layers

from vqvae2_tf.evaluation.perceptual.base import PerceptualDistance

# Numbers of the convolutions in torchvision's network.
_STAGES = (
    (0, 2),
    (5, 7),
    (10, 12, 14),
    (17, 19, 21),
    (24, 26, 28),
)


class LPIPSVGG(PerceptualDistance):
    """LPIPS 0.1 with VGG-16."""

    name = "lpips_vgg"
    published_files = (
        ("397923af",),
        ("a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",),
    )

    def stages(self, x):
        found = []
        for i, indices in enumerate(_STAGES):
            if i:
                x = layers.MaxPooling2D(2)(x)
            for index in indices:
                x = self.convolve(x, f"features.{index}", padding=1)
                x = layers.ReLU()(x)
            found.append(x)
        return found


Model = LPIPSVGG

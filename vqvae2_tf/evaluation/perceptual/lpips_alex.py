"""LPIPS with AlexNet, the variant that its authors advise (Zhang et al. 2018).

The weights are two published files, which `--perceptual_weights` names:
torchvision's `alexnet-owt-7be5be79.pth` and `weights/v0.1/alex.pth` of the
package `lpips`.
"""

from keras import layers

from vqvae2_tf.evaluation.perceptual.base import PerceptualDistance


class LPIPSAlex(PerceptualDistance):
    """LPIPS 0.1 with AlexNet."""

    name = "lpips_alex"
    published_files = (
        ("7be5be79", "4df8aa71"),
        ("df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",),
    )

    def stages(self, x):
        found = []
        for index, stride, padding in (
            (0, 4, 2),
            (3, 1, 2),
            (6, 1, 1),
            (8, 1, 1),
            (10, 1, 1),
        ):
            if index in (3, 6):
                x = layers.MaxPooling2D(3, 2)(x)
            x = self.convolve(x, f"features.{index}", stride, padding)
            x = layers.ReLU()(x)
            found.append(x)
        return found


Model = LPIPSAlex

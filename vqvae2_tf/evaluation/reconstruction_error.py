"""How far reconstructions are from the images that went in."""

import numpy as np

from vqvae2_tf.evaluation.measures import psnr
from vqvae2_tf.evaluation.ssim import ssim

_SSIM_SIZE = 11


class ReconstructionError:
    """MSE, PSNR and SSIM of pairs of images, added a batch at a time.

    The MSE is on the [0, 1] scale of pixels, of values of eight bits. The PSNR
    is pooled: that of the mean MSE, and not the mean of the images' PSNRs,
    which is higher by Jensen's inequality. Standard errors are over images.

    Args:
        distance: A further function of two batches `[B, H, W, 3]` uint8 that
            returns `[B]`; None for none.
    """

    def __init__(self, distance=None):
        self._distance = distance
        self._values = {}

    def add(self, images: np.ndarray, others: np.ndarray) -> None:
        """Adds pairs of images, `[B, H, W, 3]` uint8."""
        x, y = images / 255.0, others / 255.0
        found = {"mse": np.mean((x - y) ** 2, axis=(1, 2, 3))}
        if min(images.shape[1:3]) >= _SSIM_SIZE:
            found["ssim"] = ssim(x, y)
        if self._distance:
            found["distance"] = self._distance(images, others)
        for name, values in found.items():
            self._values.setdefault(name, []).append(values)

    def results(self) -> dict[str, tuple[float, float | None]]:
        """Value and standard error of `mse`, `psnr`, and of `ssim` if the
        images have its window's 11 pixels, and `distance` if there is one."""
        results = {}
        for name, parts in self._values.items():
            values = np.concatenate(parts).astype("float64")
            error = None
            if len(values) > 1:
                error = float(values.std(ddof=1) / np.sqrt(len(values)))
            results[name] = float(values.mean()), error
        mse, error = results["mse"]
        if error is not None:
            # By the slope of the logarithm.
            error = float(10 / np.log(10) * error / max(mse, 1e-12))
        results["psnr"] = psnr(mse), error
        return results

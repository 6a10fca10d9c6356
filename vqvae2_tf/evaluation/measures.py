"""Metrics out of sums over a whole pass, in NumPy."""

import numpy as np


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of an MSE on the [0, 1] pixel scale.

    At most 120 dB, so that it is finite.
    """
    return float(-10.0 * np.log10(max(mse, 1e-12)))


def codebook_usage(counts: np.ndarray) -> float:
    """Share of the codes used at least once, in [0, 1].

    Args:
        counts: `[K]` times each code was used over the pass.
    """
    return float(np.mean(np.asarray(counts) > 0))


def codebook_perplexity(counts: np.ndarray) -> float:
    """exp of the entropy (nats) of the codes' frequencies, in [1, K].

    Args:
        counts: `[K]` times each code was used over the pass.
    """
    shares = np.asarray(counts, "float64")
    shares = shares[shares > 0] / shares.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))

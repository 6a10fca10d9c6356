"""Features whose measures torch-fidelity has computed.

The goldens in the tests beside this file are torch-fidelity 0.4.0's on these
arrays, as float64 tensors, with torch 2.14.1, NumPy 2.4.6 and SciPy 1.17.1.
`RandomState` draws the same numbers in every version of NumPy.
"""

import numpy as np


def features(seed, count, shift):
    """`[count, 24]` float64, correlated and not normal."""
    rng = np.random.RandomState(seed)
    mix = np.random.RandomState(0).normal(size=(24, 24)) / 5
    return np.abs(rng.normal(size=(count, 24)) @ mix + shift)


SAMPLES = features(1, 1100, 0.5)
ORIGINALS = features(2, 1300, 0.0)

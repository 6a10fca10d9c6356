"""Training steps of priors."""

import numpy as np

from benchmarks.timing import median_seconds
from benchmarks.timing import peak_gib
from benchmarks.timing import timed
from benchmarks.timing import train_step
from vqvae2_tf.priors import PixelSNAIL


def prior_training(arguments, batch_size, repeats):
    """Times one training step of a prior.

    Returns:
        dict of `parameters`, `train_step_s` (seconds of an optimizer step with
        the averages' update, median), `train_codes_per_s`, `compile_s`
        (seconds of the first call) and `peak_gib` (most memory that the process
        ever held).
    """
    model = PixelSNAIL(num_codes=512, num_heads=8, kernel_size=5, **arguments)
    model.build()
    rng = np.random.default_rng(0)
    codes = rng.integers(512, size=(batch_size, *model.map_size))
    batch = {
        "codes": (codes.astype("int32"),),
        "label": np.zeros((batch_size,), "int32"),
    }
    train = train_step(model, batch)
    compile_s, _ = timed(train)
    train_s = median_seconds(train, repeats)
    return {
        **{name: arguments[name] for name in ("map_size", "hidden_units")},
        "layers": arguments["num_layers"],
        "batch_size": batch_size,
        "parameters": model.count_params(),
        "train_step_s": train_s,
        "train_codes_per_s": codes.size / train_s,
        "compile_s": compile_s,
        "peak_gib": peak_gib(),
    }

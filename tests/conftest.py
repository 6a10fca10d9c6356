"""What has to be set before a backend is first used."""

import os

import keras

if keras.backend.backend() == "jax":
    import jax

    # Tests compile a thousand small functions and run each of them once.
    jax.config.update("jax_disable_most_optimizations", True)
    # XLA ends the process at a flag that it does not know.
    if jax.__version_info__ < (0, 11):
        os.environ.setdefault(
            "XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false"
        )

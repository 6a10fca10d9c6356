"""Settings of the backends, and the run that many tests look at."""

import os

import keras
import pytest

if keras.backend.backend() == "jax":
    import jax

    # Tests compile a thousand small functions and run each of them once.
    jax.config.update("jax_disable_most_optimizations", True)
    # XLA ends the process at a flag that it does not know.
    if jax.__version_info__ < (0, 11):
        os.environ.setdefault(
            "XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false"
        )


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """The `SmallRun` that all test processes share; not to be changed."""
    # Needs TensorFlow, which tests on JAX do without.
    from tests.small_run import SmallRun

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return SmallRun(folder / "small_run")


@pytest.fixture
def own_run(small_run, tmp_path):
    """The folder of a copy of the small run."""
    return small_run.copy(tmp_path)

"""The precision that a run's networks compute in."""

import pathlib

PRECISIONS = ("auto", "float32", "bfloat16")

# Instructions that multiply bfloat16 matrices; without them CPUs emulate.
_CPU_FLAGS = {"amx_bf16", "avx512_bf16"}


def choose_precision(name: str, earlier: str | None = None) -> tuple[str, str]:
    """The precision of a run.

    Args:
        name: One of `PRECISIONS`; "auto" is `earlier`, or without one bfloat16
            if the hardware multiplies in it.
        earlier: What was chosen when the run began, perhaps on another
            processor; None for a new run.

    Returns:
        Tuple of "float32" or "bfloat16", and the reason in a few words.
    """
    if name != "auto":
        return name, "from --precision"
    if earlier:
        return earlier, "as the run in --run_dir began"
    # Here, so that a given precision needs no TensorFlow.
    import tensorflow as tf

    if tf.config.list_logical_devices("TPU"):
        return "bfloat16", "a TPU multiplies in it"
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        capability = details.get("compute_capability", (0, 0))
        if capability >= (8, 0):
            return "bfloat16", "this GPU multiplies in it"
        return "float32", "this GPU has no bfloat16 units"
    if _CPU_FLAGS.intersection(_cpu_flags()):
        return "bfloat16", "this processor has bfloat16 matrix units"
    return "float32", "this processor has no bfloat16 matrix units"


def dtype_policy(precision: str) -> str:
    """The Keras dtype policy of a precision; weights are always float32."""
    return "mixed_bfloat16" if precision == "bfloat16" else "float32"


def _cpu_flags():
    """The words of Linux' description of the processor, flags among them."""
    path = pathlib.Path("/proc/cpuinfo")
    return path.read_text().split() if path.exists() else []

"""The precision that a run's networks compute in."""

import pathlib

PRECISIONS = ("auto", "float32", "bfloat16")

# Instructions that multiply bfloat16 matrices; without them CPUs emulate.
_CPU_FLAGS = {"amx_bf16", "avx512_bf16"}


def choose_precision(
    name: str,
    earlier: str | None = None,
    accelerator: tuple[str, bool] | None = None,
) -> tuple[str, str]:
    """The precision of a run.

    Args:
        name: One of `PRECISIONS`; "auto" is `earlier`, or without one bfloat16
            if the hardware multiplies in it.
        earlier: What was chosen when the run began, perhaps on another
            processor; None for a new run.
        accelerator: `Devices.accelerator`.

    Returns:
        Tuple of "float32" or "bfloat16", and the reason in a few words.
    """
    if name != "auto":
        return name, "from --precision"
    if earlier:
        return earlier, "as the run in --run_dir began"
    if not accelerator:
        has_units = bool(_CPU_FLAGS.intersection(_cpu_flags()))
        accelerator = "processor", has_units
    kind, has_units = accelerator
    if has_units:
        return "bfloat16", f"this {kind} has bfloat16 matrix units"
    return "float32", f"this {kind} has no bfloat16 matrix units"


def dtype_policy(precision: str) -> str:
    """The Keras dtype policy of a precision; weights are always float32."""
    return "mixed_bfloat16" if precision == "bfloat16" else "float32"


def _cpu_flags():
    """The words of Linux' description of the processor, flags among them."""
    path = pathlib.Path("/proc/cpuinfo")
    return path.read_text().split() if path.exists() else []

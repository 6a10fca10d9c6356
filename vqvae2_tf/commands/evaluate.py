"""Measures a finished run, or images of any other source.

Each measure is a module of `evaluations`, with flags of its own.
"""

import importlib
import pathlib

from vqvae2_tf.errors import UserError

_FOLDER = pathlib.Path(__file__).parent / "evaluations"


def evaluations() -> dict[str, str]:
    """Each measure and what it is."""
    paths = sorted(_FOLDER.glob("[!_]*.py"))
    texts = {path.stem: path.read_text(encoding="utf-8") for path in paths}
    return {
        name: text.removeprefix('"""').splitlines()[0]
        for name, text in texts.items()
        if "\ndef main(arguments" in text
    }


def main(arguments):
    """Runs `vqvae2 evaluate MEASURE --flags`."""
    measure, *rest = arguments or ["nothing"]
    summaries = evaluations()
    if measure in ("--help", "-h", "help"):
        lines = [f"  {name:<20}{text}" for name, text in summaries.items()]
        usage = "    vqvae2 evaluate MEASURE --flags"
        print("\n".join([__doc__, usage, "", *lines]))
        raise SystemExit(0)
    if measure not in summaries:
        raise UserError(
            f"expected a measure, one of {', '.join(summaries)}, and flags "
            f"such as --flag=value. Received: {measure}"
        )
    package = f"{__package__}.evaluations"
    importlib.import_module(f"{package}.{measure}").main(rest)

"""The command line: parse, call, print, exit code.

No other package decides an exit code, but for the process of a job.
Heavy imports stand inside the commands: `tenfold --help` must not wait for torch. Here nearly
nothing is imported, so that Ctrl-C is handled from the first instruction on.
"""

import sys

from tenfold.signals import INTERRUPTED, handle_signals

# The packages of the extra `train`, which predicting does without.
EXTRA_TRAIN = {
    "jinja2", "matplotlib", "onnx", "onnxscript", "optuna", "scipy",
    "sklearn", "tensorboard", "torch",
}  # fmt: skip


def main() -> None:
    """Run the command line; every foreseen mistake becomes one line on stderr and an exit code."""
    try:
        handle_signals()
        from tenfold.cli.main import run

        run()
    except KeyboardInterrupt:  # before `run` takes care of it, or after
        sys.stderr.write(INTERRUPTED)
        sys.exit(130)

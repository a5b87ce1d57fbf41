"""The command line: parse, call, print, exit code. Nobody else prints or exits.

Heavy imports stand inside the commands: `tenfold --help` must not wait for torch.
"""

import errno
import io
import os
import signal
import sys

import typer

from tenfold.cli import learning, looking, telling, trying
from tenfold.cli.common import app
from tenfold.errors import Interrupted, TenfoldError
from tenfold.files import reason

__all__ = ["app", "learning", "looking", "main", "telling", "trying"]

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def main() -> None:
    """Run the command line; every foreseen mistake becomes one line on stderr and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no χ gets a ?
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except (TenfoldError, Interrupted) as error:
        code = _complain(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = _complain("interrupted", Interrupted.exit_code)
    except BrokenPipeError:  # as in `tenfold recipes | head -1`: nobody reads on
        _drop_stdout()
        code = Interrupted.exit_code
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise  # a bug of ours, to be seen as one
        _drop_stdout()
        code = _complain(f"the output cannot be written ({reason(error)})", 2)
    except typer.TyperException as error:
        code = _complain(error.format_message(), error.exit_code)
    sys.exit(code or 0)


def _drop_stdout() -> None:
    """Send what is still buffered nowhere, or Python would stumble over it once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(sentence: str, code: int) -> int:
    sys.stderr.write(f"tenfold: {' '.join(sentence.split())}\n")
    return code

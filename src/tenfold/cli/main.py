"""The whole command line: every foreseen mistake becomes one line on stderr and an exit code."""

import difflib
import errno
import io
import os
import sys
from pathlib import Path

import typer

from tenfold.cli import EXTRA_TRAIN, train, inspect, predict, serve, submission, experiment  # isort: skip - the order of the help
from tenfold.cli.common import app, detach, remove_console_handlers
from tenfold.errors import DependencyError, Interrupted, TenfoldError
from tenfold.files import os_error_message
from tenfold.formatting import printable
from tenfold.machine import memory_sentence, shorten_spinning

__all__ = ["experiment", "inspect", "predict", "run", "serve", "submission", "train"]

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def run() -> None:
    """Run the command that the arguments name, and exit with its code."""
    _prepare_streams()
    shorten_spinning()
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
        if code == Interrupted.exit_code:  # typer keeps Ctrl-C to itself and returns this
            _print_error("interrupted", code)
    except (TenfoldError, Interrupted) as error:
        code = _print_error(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = _print_error("interrupted", Interrupted.exit_code)
    except BrokenPipeError:  # as in `tenfold recipes | head -1`: nobody reads on, which is fine
        detach(sys.stdout)
        code = 0
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA_TRAIN:
            raise
        sentence = f"this needs {error.name}, which is not installed: pip install 'tenfold[train]'"
        code = _print_error(sentence, DependencyError.exit_code)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            code = _print_memory_error(error)
        else:
            detach(sys.stdout)
            code = _print_error(f"the output cannot be written ({os_error_message(error)})", 2)
    except typer.TyperException as error:
        code = _print_error(_usage_message(error), error.exit_code)
    except (MemoryError, SystemError, RuntimeError, ImportError) as error:
        code = _print_memory_error(error)
    finally:
        remove_console_handlers()
    sys.exit(code or 0)


def _usage_message(error: typer.TyperException) -> str:
    """Return typer's message; for an option like `--epochs` it names the recipe's field."""
    option = getattr(error, "option_name", None)
    if option is None:
        return error.format_message()
    from tenfold.recipe import Recipe

    wanted = {"lr": "learning_rate"}.get(option.strip("-"), option.strip("-").replace("-", "_"))
    fields = {
        name: f"{section}.{name}"
        for section, field in Recipe.model_fields.items()
        for name in getattr(field.annotation, "model_fields", ())
    }
    close = difflib.get_close_matches(wanted, fields, n=1)
    if not close:
        return error.format_message()
    return f"no such option: {option}; the recipe has it: --set {fields[close[0]]}=VALUE"


def _prepare_streams() -> None:
    """Let output go on where a stream is closed (`>&-`) or its terminal knows no χ."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _print_memory_error(error: Exception) -> int:
    """Say that memory ran out, if that is what happened; else it is a bug, to be seen as one."""
    sentence = memory_sentence(error)
    if sentence is None:
        raise error
    return _print_error(sentence, TenfoldError.exit_code)


def _print_error(sentence: str, code: int) -> int:
    try:
        sys.stderr.write(f"tenfold: {printable(' '.join(sentence.split()))}\n")
    except OSError:  # nobody reads it; the code still says it
        detach(sys.stderr)
    return code

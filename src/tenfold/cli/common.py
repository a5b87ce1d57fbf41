"""What the commands share: the application, their options, and the console."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from tenfold.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.data import Dataset, ReadOptions, SubmissionForm

app = typer.Typer(
    help="Read handwritten digits: from Kaggle's train.csv and test.csv to a submission.csv.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        sys.stdout.write(f"tenfold {version('tenfold')}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, Option("--version", callback=_version, is_eager=True, help="Show it and exit.")
    ] = False,
) -> None:
    """Options before the command; the help text is the application's."""
    del version


def _check_executor(executor: str) -> str:
    """Return the name of an executor as it is; checked before anything is read or written."""
    if executor != "local":
        from tenfold.jobs import get_executor

        get_executor(executor)
    return executor


TrainFile = Annotated[
    Path, Argument(metavar="TRAIN", help="Labelled images: CSV or another format, or a folder.")
]
LabelOption = Annotated[
    str | None,
    Option("--label", metavar="COLUMN", help="The label column of a table; or first, or last."),
]
InvertOption = Annotated[bool, Option("--invert", help="Exchange bright and dark.")]
TransposeOption = Annotated[
    bool, Option("--transpose", help="Exchange rows and columns, as in EMNIST's files.")
]
IdOption = Annotated[
    str | None,
    Option("--id", metavar="COLUMN", help="Ids of the submission: this column of the data."),
]
HeaderOption = Annotated[
    str | None,
    Option(
        "--submission-header", metavar="ID,LABEL", help="Of the submission; default ImageId,Label."
    ),
]
LikeOption = Annotated[
    Path | None,
    Option("--like", metavar="FILE", help="A sample submission: its header, and its ids."),
]
RecipeOption = Annotated[
    str | None, Option("--recipe", "-r", metavar="NAME|FILE", help="Default: quick.")
]
SetOption = Annotated[
    list[str] | None,
    Option("--set", metavar="KEY=VALUE", help="Override one field of the recipe; repeatable."),
]
SeedOption = Annotated[int | None, Option("--seed", help="Default: the recipe's, 0.")]
OutOption = Annotated[
    Path | None, Option("--out", metavar="DIR", help="Default: runs/RECIPE-TIME.")
]
ExecutorOption = Annotated[
    str,
    Option(
        "--executor",
        metavar="NAME",
        help="Where jobs run: local, ray or ray://host:port.",
        callback=_check_executor,
    ),
]
ResumeOption = Annotated[bool, Option("--resume", help="Continue the run in --out.")]
JsonOption = Annotated[bool, Option("--json", help="One JSON object on stdout, nothing else.")]
ModelArgument = Annotated[
    Path, Argument(metavar="RUN|MODEL", help="A run folder or a recognizer file.")
]


def read_images(
    path: Path,
    *,
    labels: bool | None,
    classes: tuple[str, ...] | None = None,
    part: Literal["train", "test"] | None = None,
    options: "ReadOptions | None" = None,
) -> "Dataset":
    """Read images of any format, and log how many."""
    from tenfold.data import read
    from tenfold.formatting import pluralize

    dataset = read(path, labels=labels, classes=classes, part=part, options=options)
    size = dataset.image_size
    images = pluralize(len(dataset), "image")
    logging.getLogger(__name__).info("read %s: %s of %d × %d", path, images, size, size)
    return dataset


def read_options(
    label: str | None, invert: bool, transpose: bool, row_id: str | None = None
) -> "ReadOptions":
    """Return the options of reading."""
    from tenfold.data import ReadOptions

    return ReadOptions(label, row_id, invert, transpose)


def submission_form(
    source: Path, row_id: str | None, header: str | None, like: Path | None
) -> "SubmissionForm":
    """Return what a submission looks like: the competition's, or as the options say.

    Args:
        source: the images to predict, on disk.
        row_id: the column with their ids; None numbers them, or takes those of `like`.
        header: two names, with a comma between them.
        like: a sample submission.

    Raises:
        DataError: the header is not two names, or the ids of `source` and `like` differ.
    """
    from tenfold.data import SubmissionForm
    from tenfold.data.formats import read_column

    form = SubmissionForm() if like is None else SubmissionForm.like(like)
    ids = form.ids
    if row_id is not None:
        ids = read_column(source, row_id)
        if form.ids is not None and set(form.ids) != set(ids):
            raise DataError(
                f"{source}: the column {row_id!r} holds other ids than {like}, expected the same"
            )
    names = form.header
    if header is not None:
        first, _, second = header.partition(",")
        if not first.strip() or not second.strip() or "," in second:
            raise DataError(f"--submission-header {header}: expected two names, such as id,label")
        names = (first.strip(), second.strip())
    return SubmissionForm(names, ids)


def make_console(as_json: bool = False) -> "Console":
    """Make the console for human-readable output: stdout, or stderr when stdout belongs to JSON.

    The messages of the logger "tenfold" are printed there too, warnings on stderr. Under torchrun
    the main process prints, the others are silent.
    """
    from rich.console import Console

    from tenfold.formatting import ConsoleHandler
    from tenfold.jobs.job import rank_and_world_size

    class PipeConsole(Console):
        """A console that falls silent when nobody reads on, as in `tenfold run | head`."""

        def on_broken_pipe(self) -> None:
            self.quiet = True
            detach(self.file)

    quiet = rank_and_world_size()[0] > 0
    console = PipeConsole(stderr=as_json, emoji=False, quiet=quiet)
    # On a terminal they stand above a live bar, as all messages do.
    warnings = None if console.is_terminal else PipeConsole(stderr=True, emoji=False, quiet=quiet)
    remove_console_handlers()
    package = logging.getLogger("tenfold")
    package.setLevel(logging.INFO)
    package.addHandler(ConsoleHandler(console, warnings))
    return console


def remove_console_handlers() -> None:
    """Let messages be printed no more on the console of a command that is over."""
    from tenfold.formatting import ConsoleHandler

    package = logging.getLogger("tenfold")
    for handler in list(package.handlers):
        if isinstance(handler, ConsoleHandler):
            package.removeHandler(handler)


def print_line(console: "Console", line: str) -> None:
    """Print a line as it is, however long."""
    from tenfold.formatting import printable_lines

    console.print(printable_lines(line), highlight=False, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON object on stdout; nothing happens if nobody reads it."""
    try:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        detach(sys.stdout)


def detach(stream: IO[str]) -> None:
    """Discard what is still buffered, or Python would fail on it once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

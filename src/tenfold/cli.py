"""The command line: parse, call, print, exit code. Nobody else prints or exits.

Heavy imports stand inside the commands: `tenfold --help` must not wait for torch.
"""

import errno
import io
import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from tenfold.errors import DataError, Interrupted, RecipeError, TenfoldError
from tenfold.files import reason

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from tenfold.data import Dataset
    from tenfold.recipe import Recipe

app = typer.Typer(
    help="Read handwritten digits: from Kaggle's train.csv and test.csv to a submission.csv.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

TrainFile = Annotated[Path, Argument(metavar="TRAIN", help="CSV with a label column.")]
RecipeOption = Annotated[
    str | None, Option("--recipe", "-r", metavar="NAME|FILE", help="Default: quick.")
]
SetOption = Annotated[
    list[str] | None, Option("--set", metavar="KEY=VALUE", help="Change one choice of the recipe.")
]
SeedOption = Annotated[int | None, Option("--seed", help="Default: the recipe's, 0.")]
OutOption = Annotated[Path | None, Option("--out", metavar="DIR", help="Default: runs/…")]
ResumeOption = Annotated[bool, Option("--resume", help="Go on with the run in --out.")]
JsonOption = Annotated[bool, Option("--json", help="One JSON object on stdout, nothing else.")]
ModelArgument = Annotated[
    Path, Argument(metavar="RUN|MODEL", help="A run folder or a recognizer file.")
]


@app.command("run")
def run_command(
    train: Annotated[Path | None, Argument(metavar="TRAIN", help="Kaggle's train.csv.")] = None,
    test: Annotated[Path | None, Argument(metavar="TEST", help="Kaggle's test.csv.")] = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    out: OutOption = None,
    resume: ResumeOption = False,
) -> None:
    """Do the main job: check, train, explain and write submission.csv.

    Without TRAIN and TEST it takes MNIST in the competition's shape, and scores itself.
    """
    console = _console()
    chosen, folder = _plan(recipe, set_, seed, out, resume)
    labelled, unlabelled, truth = _both(train, test, chosen.seed, console)

    from tenfold.run import run
    from tenfold.training.progress import listener

    score = run(
        labelled,
        unlabelled,
        chosen,
        folder,
        truth=truth,
        listener=listener(console),
        resume=resume,
    )
    if score is not None:
        _say(console, f"score on the {score.n:,}: {score}")
    _say(console, f"everything about this run is in {folder}")


@app.command("train")
def train_command(
    train: TrainFile,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    watch: Annotated[
        bool, Option("--watch", help="Keep figures/training.png up to date meanwhile.")
    ] = False,
) -> None:
    """Train a recognizer and leave a run folder."""
    console = _console()
    chosen, folder = _plan(recipe, set_, seed, out, resume)
    if chosen.data.pseudo_confidence is not None:
        problem = "data.pseudo_confidence needs images to predict, expected `tenfold run`"
        raise RecipeError(chosen.name, [problem])
    labelled = _read(train, labels=True, console=console)

    from tenfold.files import RunFolder
    from tenfold.report.watch import Watch
    from tenfold.run import train as learn
    from tenfold.training.progress import listener

    run, told = RunFolder(folder), listener(console)
    told = Watch(told, run) if watch else told
    learn(labelled, chosen, run, listener=told, resume=resume)
    _say(console, f"everything about this run is in {folder}")


@app.command("predict")
def predict_command(
    model: ModelArgument,
    test: Annotated[Path, Argument(metavar="INPUT", help="CSV of images.")],
    out: Annotated[
        Path | None, Option("--out", metavar="FILE", help="Default: submission.csv.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read the digits in a CSV and write the submission file."""
    console = _console(as_json)
    from tenfold.recognizer import Recognizer
    from tenfold.training.progress import counting

    recognizer = Recognizer.load(model)
    unlabelled = _read(test, labels=False, console=console)
    tell = counting(_note(console))
    probabilities = recognizer.probabilities(unlabelled, on_progress=tell)
    answers = recognizer.names_of(probabilities.argmax(axis=1))

    if out is not None or not as_json:
        from tenfold.data import write_submission

        out = out or Path("submission.csv")
        write_submission(out, answers)
        _say(console, f"{len(answers):,} answers written to {out} and read back")
    if as_json:
        confidence = [round(float(value), 6) for value in probabilities.max(axis=1)]
        _print_json({"answers": answers.tolist(), "confidence": confidence})


@app.command("evaluate")
def evaluate_command(
    model: ModelArgument,
    labelled: Annotated[Path, Argument(metavar="LABELLED", help="CSV with a label column.")],
    as_json: JsonOption = False,
) -> None:
    """Compare a recognizer's answers with known labels, class by class."""
    console = _console(as_json)
    from tenfold.recognizer import Recognizer
    from tenfold.report.metrics import evaluate
    from tenfold.training.progress import counting

    recognizer = Recognizer.load(model)
    dataset = _read(labelled, labels=True, console=console, classes=recognizer.classes)
    probabilities = recognizer.probabilities(dataset, on_progress=counting(_note(console)))
    found = evaluate(probabilities, dataset.known_labels(), recognizer.classes)
    if as_json:
        _print_json(found.to_json())
        return
    _say(console, f"score: {found.score}")
    _say(console, f"loss {found.loss:.4f}, calibration error {found.calibration_error:.4f}")
    for name, score in found.per_class.items():
        _say(console, f"  class {name}: {score}")
    _say(console, "confusion (rows: truth, columns: answer)")
    names = recognizer.classes
    width = max(len(str(found.confusion.max())), *map(len, names)) + 1
    for name, row in [("", names), *zip(names, found.confusion.tolist(), strict=True)]:
        _say(console, "".join(f"{cell!s:>{width}}" for cell in (name, *row)))


@app.command("score")
def score_command(
    submission: Annotated[Path, Argument(metavar="SUBMISSION", help="ImageId,Label.")],
    truth: Annotated[Path, Argument(metavar="TRUTH", help="ImageId,Label.")],
    as_json: JsonOption = False,
) -> None:
    """Compare a submission with the truth."""
    console = _console(as_json)
    from tenfold.data import read_submission
    from tenfold.report.metrics import score

    answers, known = read_submission(submission), read_submission(truth)
    if len(answers) != len(known):
        raise DataError(
            f"{submission}: has {len(answers):,} answers, expected {len(known):,} as in {truth}"
        )
    found = score(answers, known)
    if as_json:
        _print_json(found.to_json())
    else:
        _say(console, f"score: {found}")


@app.command("check")
def check_command(
    train: TrainFile,
    test: Annotated[Path | None, Argument(metavar="TEST", help="CSV to predict.")] = None,
    out: Annotated[Path | None, Option("--out", metavar="DIR", help="Draw pictures.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what is wrong or odd in the data, and whether the two files overlap."""
    console = _console(as_json)
    from tenfold.data import check

    labelled = _read(train, labels=True, console=console)
    unlabelled = None if test is None else _read(test, labels=False, console=console)
    findings = check(labelled, unlabelled)
    if as_json:
        _print_json(findings.to_json())
    else:
        for line in findings.lines():
            _say(console, line)
    if out is not None:
        from tenfold.files import output_folder
        from tenfold.report import figures

        folder, labels, classes = output_folder(out), labelled.known_labels(), labelled.classes
        title = f"Images of each class: {labelled.name}"
        balance = figures.class_balance(labelled.class_counts(), None, title)
        figures.save(balance, folder / "classes.png")
        sheet = figures.sample_sheet(labelled.images, labels, classes)
        figures.save(sheet, folder / "samples.png")
        _say(console, f"pictures are in {folder}")


@app.command("data")
def data_command(
    name: Annotated[str, Argument(metavar="NAME", help="mnist")],
    kaggle: Annotated[Path, Option("--kaggle", metavar="DIR", help="Where the four CSV files go.")],
    seed: Annotated[int, Option("--seed", help="Of the split 42,000 / 28,000.", min=0)] = 0,
    canonical: Annotated[
        bool, Option("--canonical", help="MNIST's own 60,000 / 10,000 instead.")
    ] = False,
) -> None:
    """Write a dataset as the competition hands it out, with the truth beside it."""
    console = _console()
    from tenfold.data import kaggle_shape, load, write_kaggle_folder

    both = load(name, on_note=_note(console))
    train, test = both if canonical else kaggle_shape(*both, seed)
    write_kaggle_folder(kaggle, train, test)
    _say(
        console,
        f"{len(train):,} labelled digits in {kaggle / 'train.csv'}, "
        f"{len(test):,} to predict in {kaggle / 'test.csv'}, their truth in truth.csv",
    )


@app.command("report")
def report_command(
    run: Annotated[Path, Argument(metavar="RUN", help="A run folder.")],
    digit: Annotated[
        str | None, Option("--digit", metavar="CLASS", help="Follow an image of this class.")
    ] = None,
) -> None:
    """Draw the report of a run again, from what the run saved."""
    console = _console()
    from tenfold.report.page import write_report

    page = write_report(run, digit=digit, note=_note(console))
    _say(console, f"the report is {page}")


@app.command("standing")
def standing_command(
    score: Annotated[float, Argument(metavar="SCORE", help="Accuracy, such as 0.9957.")],
    as_json: JsonOption = False,
) -> None:
    """Place a leaderboard score among the known honest ones."""
    console = _console(as_json)
    from tenfold.report.standing import beyond, standing

    found = standing(score)
    if as_json:
        above, below = ([vars(entry) for entry in part] for part in (found.above, found.below))
        sentence = found.sentence()
        _print_json({"above": above, "below": below, "beyond": beyond(), "sentence": sentence})
        return
    for entry in found.above:
        _say(console, f"  {entry.score:<8g} {entry.source:10} {entry.who}")
    _say(console, f"> {score:<8g} this one")
    for entry in found.below:
        _say(console, f"  {entry.score:<8g} {entry.source:10} {entry.who}")
    _say(console, found.sentence())


@app.command("recipes")
def recipes_command(
    show: Annotated[
        str | None, Option("--show", metavar="NAME", help="Layers, shapes and arithmetic.")
    ] = None,
) -> None:
    """List the recipes, or show one with its network."""
    console = _console()
    from tenfold.recipe import Recipe, names

    if show is None:
        for name in names():
            recipe = Recipe.load(name)
            _say(console, f"{name:12} {recipe.description}")
            if recipe.measured:
                _say(console, f"{'':12} measured: {recipe.measured}")
        return
    _show_recipe(Recipe.load(show), console)


def _show_recipe(recipe: "Recipe", console: "Console") -> None:
    """Print the choices and a table of the network's layers."""
    from rich.table import Table

    from tenfold.networks import build
    from tenfold.networks.summary import summarize

    size = recipe.preprocessing.size or 28
    layers = summarize(build(recipe.network, image_size=size, n_classes=10, seed=0), size)
    table = Table("layer", "kind", "output", box=None, pad_edge=False)
    table.add_column("parameters", justify="right")
    table.add_column("multiply-adds", justify="right")
    for layer in layers:
        shape = " × ".join(map(str, layer.shape))
        numbers = (layer.parameters, layer.multiply_adds)
        counts = (f"{number:,}" if number else "" for number in numbers)
        table.add_row(layer.name, layer.kind, shape, *counts)
    console.print(recipe.to_toml(), highlight=False, markup=False, soft_wrap=True)
    console.print(table)
    _say(
        console,
        f"\n{sum(layer.parameters for layer in layers):,} parameters, "
        f"{sum(layer.multiply_adds for layer in layers):,} multiply-adds "
        f"for one {size} × {size} image",
    )


def _plan(
    recipe: str | None,
    overrides: list[str] | None,
    seed: int | None,
    out: Path | None,
    resume: bool,
) -> tuple["Recipe", Path]:
    """Settle the recipe and the folder; `--resume` takes the folder's recipe unless told one."""
    from tenfold.files import RunFolder
    from tenfold.recipe import Recipe

    source: str | Path = recipe or "quick"
    if resume and out is None:
        raise TenfoldError("--resume: which run is meant? expected its folder in --out")
    if resume and out is not None and recipe is None:
        source = RunFolder(out).recipe
        if not source.exists():
            raise TenfoldError(
                f"{out}: holds no run to resume, expected a run folder, or --recipe to begin one"
            )
    chosen = Recipe.load(source, overrides=overrides or (), seed=seed)
    moment = datetime.now().strftime("%Y%m%d-%H%M%S")
    return chosen, out or Path("runs") / f"{chosen.name}-{moment}"


def _both(
    train: Path | None, test: Path | None, seed: int, console: "Console"
) -> tuple["Dataset", "Dataset", "NDArray[np.str_] | None"]:
    """Read both files, or take MNIST in their place, whose truth is known."""
    if train is not None and test is not None:
        labelled = _read(train, labels=True, console=console)
        return labelled, _read(test, labels=False, console=console), None
    if train is not None:
        raise TenfoldError("TEST is missing: expected both TRAIN and TEST, or neither for MNIST")
    from tenfold.data import kaggle_shape, mnist

    _say(console, "no files given: MNIST in the competition's shape, 42,000 labelled, 28,000 not")
    labelled, held_back = kaggle_shape(*mnist(on_note=_note(console)), seed)
    return labelled, held_back.without_labels(), held_back.names()


def _read(
    path: Path, *, labels: bool, console: "Console", classes: tuple[str, ...] | None = None
) -> "Dataset":
    from tenfold.data import read

    dataset = read(path, labels=labels, classes=classes, on_note=_note(console))
    size = dataset.image_size
    _say(console, f"read {path}: {len(dataset):,} images of {size} × {size}")
    return dataset


def _console(as_json: bool = False) -> "Console":
    """Where people read: stdout, or stderr when stdout belongs to JSON."""
    from rich.console import Console

    return Console(stderr=as_json, emoji=False)


def _note(console: "Console") -> Callable[[str], None]:
    return lambda sentence: _say(console, sentence)


def _say(console: "Console", line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


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

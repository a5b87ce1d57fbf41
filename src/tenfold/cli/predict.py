"""The commands about predictions: predict, evaluate, score, submit and leaderboard."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from tenfold.cli.common import (
    ExecutorOption,
    JsonOption,
    ModelArgument,
    app,
    make_console,
    print_json,
    print_line,
    read_images,
)
from tenfold.errors import DataError, TenfoldError

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.run_folder import RunFolder

logger = logging.getLogger(__name__)


@app.command("predict")
def predict_command(
    inputs: Annotated[
        list[str],
        Argument(
            metavar="[RUN|MODEL] INPUT...",
            help="A model, unless the one in the box will do. Then one data file (CSV or Parquet, "
            "of any length); or pictures, folders of them, or - for standard input.",
        ),
    ],
    out: Annotated[
        Path | None,
        Option(
            "--out",
            metavar="FILE",
            help="Submission of a data file (default: submission.csv), or table of all digits.",
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        Option("--explain", metavar="DIR", help="Save the steps from each picture to its digits."),
    ] = None,
    set_coverage: Annotated[
        float | None,
        Option(
            "--set-coverage",
            metavar="P",
            help="With --json: for each digit of a picture, the set that holds the right one with "
            "this probability, such as 0.99, on images like those the model was validated on.",
        ),
    ] = None,
    executor: ExecutorOption = "local",
    as_json: JsonOption = False,
) -> None:
    """Predict the digits in a data file and write the submission, or read pictures of digits.

    A data file is read in pieces: it may be larger than memory.
    """
    console = make_console(as_json)
    from tenfold.models import is_model

    model = Path(inputs[0]) if is_model(Path(inputs[0])) else None
    sources = inputs if model is None else inputs[1:]
    if not sources:
        raise TenfoldError(f"{inputs[0]}: is a model, expected a data file or pictures after it")
    if _are_pictures(sources):
        _predict_pictures(console, model, sources, out, explain, set_coverage, as_json=as_json)
    elif explain is not None or set_coverage is not None:
        raise TenfoldError(f"{sources[0]}: --explain and --set-coverage are for pictures")
    else:
        _predict_data_file(console, model, Path(sources[0]), out, executor, as_json=as_json)


def _are_pictures(sources: Sequence[str]) -> bool:
    """Whether the inputs are pictures, or one data file.

    Raises:
        DataError: they are several data files, or a mixture.
    """
    from tenfold.pictures import is_picture

    data_files = [source for source in sources if not is_picture(source)]
    if data_files and len(sources) > 1:
        raise DataError(
            f"{data_files[0]}: is no picture, expected one data file alone, or pictures only"
        )
    return not data_files


def _predict_data_file(
    console: "Console",
    model: Path | None,
    source: Path,
    out: Path | None,
    executor: str,
    *,
    as_json: bool,
) -> None:
    from tenfold.formatting import pluralize
    from tenfold.predict import predict_file

    if out is None and not as_json:
        out = Path("submission.csv")
    recognizer, predictions = predict_file(model, source, out, executor=executor)
    if out is not None:
        print_line(
            console,
            f"{pluralize(len(predictions.predicted), 'prediction')} written to {out} (verified)",
        )
    if as_json:
        confidence = [round(float(value), 6) for value in predictions.confidence]
        labels = recognizer.decode_labels(predictions.predicted)
        print_json({"labels": labels.tolist(), "confidence": confidence})


def _predict_pictures(
    console: "Console",
    model: Path | None,
    sources: Sequence[str],
    out: Path | None,
    explain: Path | None,
    set_coverage: float | None,
    *,
    as_json: bool,
) -> None:
    """Print the digits of each picture; an unreadable one has its error, and the others go on."""
    from tenfold.errors import ImageError
    from tenfold.files import output_folder, write_text
    from tenfold.models import load
    from tenfold.pictures import iter_images, save_explanation, to_csv

    classifier = load(model)
    folder = None if explain is None else output_folder(explain)
    images, answers, errors = [], [], []
    for image in iter_images(sources, classifier):
        if isinstance(image, ImageError):
            errors.append(str(image))
            sys.stderr.write(f"tenfold: {image}\n")
            continue
        images.append(image)
        sets = None if set_coverage is None else image.prediction_sets(classifier, set_coverage)
        answers.append(image.to_json(sets))
        for note in image.notes:
            logger.warning("%s: %s", image.name, note)
        if not as_json:
            print_line(console, f"{image.name}: {image.summary()}")
        if folder is not None:
            save_explanation(image, folder)
    if out is not None:
        write_text(out, to_csv(images))
        print_line(console, f"table of all digits written to {out}")
    if as_json:
        print_json({"pictures": answers, "errors": errors})
    if errors:
        raise Exit(TenfoldError.exit_code)


@app.command("evaluate")
def evaluate_command(
    model: ModelArgument,
    labelled: Annotated[Path, Argument(metavar="LABELLED", help="CSV with a label column.")],
    as_json: JsonOption = False,
) -> None:
    """Compare predictions with known labels, class by class."""
    console = make_console(as_json)
    from tenfold.formatting import ProgressLogger
    from tenfold.metrics import evaluate_probabilities
    from tenfold.models import load

    recognizer = load(model)
    dataset = read_images(labelled, labels=True, classes=recognizer.classes)
    probabilities = recognizer.predictor().predict_proba(
        dataset, on_progress=ProgressLogger(logger, "images")
    )
    found = evaluate_probabilities(probabilities, dataset.require_labels(), recognizer.classes)
    if as_json:
        print_json(found.to_json())
        return
    print_line(console, f"score: {found.score}")
    print_line(console, f"loss {found.loss:.4f}, calibration error {found.calibration_error:.4f}")
    for name, score in found.per_class.items():
        print_line(console, f"  class {name}: {score}")
    print_line(console, "confusion matrix (rows: label, columns: prediction)")
    names = recognizer.classes
    width = max(len(str(found.confusion.max())), *map(len, names)) + 1
    for name, row in [("", names), *zip(names, found.confusion.tolist(), strict=True)]:
        print_line(console, "".join(f"{cell!s:>{width}}" for cell in (name, *row)))


@app.command("export")
def export_command(
    model: ModelArgument,
    out: Annotated[Path, Argument(metavar="FILE.onnx", help="What to write.")],
    weights: Annotated[
        str, Option("--weights", metavar="TYPE", help="float32, or float16 for half the size.")
    ] = "float32",
    tta: Annotated[
        bool, Option("--tta/--no-tta", help="Test-time views, as the recipe has them.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Write a recognizer to one ONNX file, which predicts without PyTorch, and compare the two."""
    console = make_console(as_json)
    if out.suffix != ".onnx":
        raise TenfoldError(f"{out}: ends in {out.suffix!r}, expected a name that ends in .onnx")
    if weights not in {"float32", "float16"}:
        raise TenfoldError(f"--weights {weights}: expected float32 or float16")
    from tenfold.export import export_onnx
    from tenfold.recognizer import Recognizer

    recognizer = Recognizer.load(model)
    parity = export_onnx(
        recognizer, out, weights_dtype="float16" if weights == "float16" else "float32", tta=tta
    )
    size = out.stat().st_size
    print_line(console, f"{out}: {size / 1000:,.0f} kB; compared with {model}: {parity}")
    if as_json:
        print_json({"file": str(out), "bytes": size} | vars(parity))


@app.command("score")
def score_command(
    submission: Annotated[Path, Argument(metavar="SUBMISSION", help="ImageId,Label.")],
    labels: Annotated[Path, Argument(metavar="LABELS", help="ImageId,Label.")],
    as_json: JsonOption = False,
) -> None:
    """Compare a submission with the true labels."""
    console = make_console(as_json)
    from tenfold.data import read_submission
    from tenfold.formatting import pluralize
    from tenfold.metrics import score

    predicted, known = read_submission(submission), read_submission(labels)
    if len(predicted) != len(known):
        raise DataError(
            f"{submission}: has {pluralize(len(predicted), 'prediction')}, expected {len(known):,} "
            f"as in {labels}"
        )
    found = score(predicted, known)
    if as_json:
        print_json(found.to_json())
    else:
        print_line(console, f"score: {found}")


@app.command("submit")
def submit_command(
    submission: Annotated[Path, Argument(metavar="SUBMISSION", help="ImageId,Label.")],
    competition: Annotated[
        str, Option("--competition", metavar="NAME", help="Its name, as in its address.")
    ] = "digit-recognizer",
    message: Annotated[
        str | None,
        Option("--message", metavar="TEXT", help="A description, kept with it on Kaggle."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Submit to Kaggle and wait for the score.

    The score of a run's own submission is compared with the one that the run predicted, and kept
    in the run folder.
    """
    console = make_console(as_json)
    from tenfold.files import write_json
    from tenfold.kaggle import submit
    from tenfold.run_folder import RunFolder

    run = RunFolder(submission.parent)
    is_of_run = run.summary.is_file() and submission.resolve() == run.submission.resolve()
    expected = _read_expected(run) if is_of_run else None
    text = message or f"tenfold {run.path.resolve().name}"
    result = submit(submission, text, competition)
    if as_json:
        print_json(result.to_json() | {"expected": expected})
    elif result.score is not None:
        _print_score(console, result.score, expected)
    if is_of_run:
        write_json(run.kaggle_result, result.to_json())


def _print_score(console: "Console", score: float, expected: dict[str, Any] | None) -> None:
    """Print the score, the one that the run predicted, and the position on the leaderboard."""
    from tenfold.kaggle import leaderboard_position

    print_line(console, f"leaderboard score: {score:.5f}")
    if expected is not None:
        low, high = expected["interval"]
        inside = "inside" if low <= score <= high else "outside"
        print_line(
            console,
            f"predicted: {expected['accuracy']:.5f}, 95% interval "
            f"{low:.5f}–{high:.5f}; the score is {inside} it",
        )
    print_line(console, leaderboard_position(score).summary())


def _read_expected(run: "RunFolder") -> dict[str, Any] | None:
    """Return the score that this run predicted, if it held images out and its summary is valid."""
    from tenfold.artifact import read_json
    from tenfold.report.artifacts import ExpectedScoreFile

    try:
        summary = read_json(run.summary, ExpectedScoreFile)
    except (OSError, ValueError):
        return None
    expected: dict[str, Any] | None = summary["validation"]
    return expected


@app.command("leaderboard")
def leaderboard_command(
    score: Annotated[float, Argument(metavar="SCORE", help="Accuracy, such as 0.9957.")],
    as_json: JsonOption = False,
) -> None:
    """Place a score among known ones without test-label leakage."""
    console = make_console(as_json)
    from tenfold.kaggle import LeaderboardEntry, leaderboard_position, plausible_max

    position = leaderboard_position(score)
    if as_json:
        above, below = (
            [vars(entry) | {"interval": entry.interval} for entry in part]
            for part in (position.above, position.below)
        )
        summary = position.summary()
        print_json(
            {"above": above, "below": below, "plausible_max": plausible_max(), "summary": summary}
        )
        return

    def line(entry: LeaderboardEntry) -> str:
        low, high = entry.interval
        return f"  {entry.score:<8g} {low:.4f}–{high:.4f}  {entry.source:10} {entry.method}"

    print_line(console, "  score    95% interval")
    for entry in position.above:
        print_line(console, line(entry))
    print_line(console, f"> {score:<8g} {'':13}  this one")
    for entry in position.below:
        print_line(console, line(entry))
    print_line(console, position.summary())

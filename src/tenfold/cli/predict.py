"""The commands about answers: predict, evaluate_probabilities, score, submit and standing."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from tenfold.cli.common import (
    ExecutorOption,
    JsonOption,
    ModelArgument,
    app,
    make_console,
    make_logger,
    print_json,
    read_images,
    say,
)
from tenfold.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.run_folder import RunFolder


@app.command("predict")
def predict_command(
    model: ModelArgument,
    test: Annotated[Path, Argument(metavar="INPUT", help="CSV or Parquet, of any length.")],
    out: Annotated[
        Path | None, Option("--out", metavar="FILE", help="Default: submission.csv.")
    ] = None,
    executor: ExecutorOption = "local",
    as_json: JsonOption = False,
) -> None:
    """Read the digits in a file and write the submission.

    The file is read in pieces: it may be larger than memory.
    """
    console = make_console(as_json)
    from tenfold.formatting import pluralize
    from tenfold.predict import predict_file

    if out is None and not as_json:
        out = Path("submission.csv")
    recognizer, found = predict_file(model, test, out, executor=executor)
    if out is not None:
        say(console, f"{pluralize(len(found.predicted), 'answer')} written to {out} and read back")
    if as_json:
        confidence = [round(float(value), 6) for value in found.confidence]
        names = recognizer.decode_labels(found.predicted)
        print_json({"answers": names.tolist(), "confidence": confidence})


@app.command("evaluate")
def evaluate_command(
    model: ModelArgument,
    labelled: Annotated[Path, Argument(metavar="LABELLED", help="CSV with a label column.")],
    as_json: JsonOption = False,
) -> None:
    """Compare answers with known labels, class by class."""
    console = make_console(as_json)
    from tenfold.metrics import evaluate_probabilities
    from tenfold.recognizer import Recognizer
    from tenfold.training.callbacks import counting

    recognizer = Recognizer.load(model)
    dataset = read_images(labelled, labels=True, console=console, classes=recognizer.classes)
    probabilities = recognizer.predictor().predict_proba(
        dataset, on_progress=counting(make_logger(console))
    )
    found = evaluate_probabilities(probabilities, dataset.require_labels(), recognizer.classes)
    if as_json:
        print_json(found.to_json())
        return
    say(console, f"score: {found.score}")
    say(console, f"loss {found.loss:.4f}, calibration error {found.calibration_error:.4f}")
    for name, score in found.per_class.items():
        say(console, f"  class {name}: {score}")
    say(console, "confusion (rows: truth, columns: answer)")
    names = recognizer.classes
    width = max(len(str(found.confusion.max())), *map(len, names)) + 1
    for name, row in [("", names), *zip(names, found.confusion.tolist(), strict=True)]:
        say(console, "".join(f"{cell!s:>{width}}" for cell in (name, *row)))


@app.command("score")
def score_command(
    submission: Annotated[Path, Argument(metavar="SUBMISSION", help="ImageId,Label.")],
    truth: Annotated[Path, Argument(metavar="TRUTH", help="ImageId,Label.")],
    as_json: JsonOption = False,
) -> None:
    """Compare a submission with the truth."""
    console = make_console(as_json)
    from tenfold.data import read_submission
    from tenfold.formatting import pluralize
    from tenfold.metrics import score

    answers, known = read_submission(submission), read_submission(truth)
    if len(answers) != len(known):
        raise DataError(
            f"{submission}: has {pluralize(len(answers), 'answer')}, expected {len(known):,} as in "
            f"{truth}"
        )
    found = score(answers, known)
    if as_json:
        print_json(found.to_json())
    else:
        say(console, f"score: {found}")


@app.command("submit")
def submit_command(
    submission: Annotated[Path, Argument(metavar="SUBMISSION", help="ImageId,Label.")],
    competition: Annotated[
        str, Option("--competition", metavar="NAME", help="Its name, as in its address.")
    ] = "digit-recognizer",
    message: Annotated[
        str | None, Option("--message", metavar="TEXT", help="A note to keep beside it on Kaggle.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hand a submission in to Kaggle and wait for its score.

    The score is compared with the one that the run expected, and kept in the run folder; of
    another file that lies there the run expected nothing.
    """
    console = make_console(as_json)
    from tenfold.files import write_json
    from tenfold.kaggle import submit
    from tenfold.run_folder import RunFolder

    run = RunFolder(submission.parent)
    is_of_run = run.summary.is_file() and submission.resolve() == run.submission.resolve()
    expected = _read_expected(run) if is_of_run else None
    text = message or f"tenfold {run.path.resolve().name}"
    done = submit(submission, text, competition)
    if as_json:
        print_json(done.to_json() | {"expected": expected})
    elif done.score is not None:
        _tell_score(console, done.score, expected)
    if is_of_run:
        write_json(run.kaggle_result, done.to_json())


def _tell_score(console: "Console", score: float, expected: dict[str, Any] | None) -> None:
    """Say the score beside the one that was expected, and how one stands with it."""
    from tenfold.kaggle import leaderboard_position

    say(console, f"score on the leaderboard: {score:.5f}")
    if expected is not None:
        low, high = expected["interval"]
        inside = "inside" if low <= score <= high else "outside"
        say(
            console,
            f"expected beforehand: {expected['accuracy']:.5f}, 95% interval "
            f"{low:.5f}–{high:.5f}; the score is {inside} it",
        )
    say(console, leaderboard_position(score).summary())


def _read_expected(run: "RunFolder") -> dict[str, Any] | None:
    """Return the score that this run expected, if it held images out and its summary is sound."""
    from tenfold.report.artifacts import ExpectedScoreFile, validate_artifact

    try:
        summary = validate_artifact(json.loads(run.summary.read_text("utf-8")), ExpectedScoreFile)
    except (OSError, ValueError):
        return None
    expected: dict[str, Any] | None = summary["validation"]
    return expected


@app.command("standing")
def standing_command(
    score: Annotated[float, Argument(metavar="SCORE", help="Accuracy, such as 0.9957.")],
    as_json: JsonOption = False,
) -> None:
    """Place a leaderboard score among the known honest ones."""
    console = make_console(as_json)
    from tenfold.kaggle import LeaderboardEntry, leaderboard_position, plausible_max

    found = leaderboard_position(score)
    if as_json:
        above, below = (
            [vars(entry) | {"interval": entry.interval} for entry in part]
            for part in (found.above, found.below)
        )
        summary = found.summary()
        print_json(
            {"above": above, "below": below, "plausible_max": plausible_max(), "summary": summary}
        )
        return

    def line(entry: LeaderboardEntry) -> str:
        low, high = entry.interval
        return f"  {entry.score:<8g} {low:.4f}–{high:.4f}  {entry.source:10} {entry.method}"

    say(console, "  score    95% interval")
    for entry in found.above:
        say(console, line(entry))
    say(console, f"> {score:<8g} {'':13}  this one")
    for entry in found.below:
        say(console, line(entry))
    say(console, found.summary())

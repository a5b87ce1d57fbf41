"""The commands about submissions: score, submit and leaderboard."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from tenfold.cli.common import JsonOption, app, make_console, print_json, print_line
from tenfold.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from tenfold.run_folder import RunFolder


@app.command("score")
def score_command(
    submission: Annotated[Path, Argument(metavar="SUBMISSION", help="ImageId,Label.")],
    labels: Annotated[Path, Argument(metavar="LABELS", help="ImageId,Label.")],
    as_json: JsonOption = False,
) -> None:
    """Compare a submission with the true labels."""
    console = make_console(as_json)
    from tenfold.formatting import pluralize
    from tenfold.metrics import score

    predicted, known = _read_pair(submission, labels)
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


def _read_pair(submission: Path, labels: Path) -> tuple["NDArray[np.int64]", "NDArray[np.int64]"]:
    """Return the labels of two submissions as numbers, in the same order.

    Those of other competitions than Digit Recognizer are matched by their ids.
    """
    from tenfold.data import SubmissionForm, match_answers, read_submission

    if SubmissionForm.like(submission).is_kaggles and SubmissionForm.like(labels).is_kaggles:
        return read_submission(submission), read_submission(labels)
    return match_answers(submission, labels)


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
    like: Annotated[
        Path | None,
        Option("--like", metavar="FILE", help="A sample submission, to compare header and ids."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Submit to Kaggle and wait for the score.

    The score of a run's own submission is compared with the one that the run predicted, and kept
    in the run folder.
    """
    console = make_console(as_json)
    from tenfold.data.submission import check_is_like
    from tenfold.files import write_json
    from tenfold.kaggle import submit
    from tenfold.run_folder import RunFolder

    run = RunFolder(submission.parent)
    if like is not None:
        check_is_like(submission, like)
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

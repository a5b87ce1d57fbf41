"""The head of a run's report: the score, what it means, and what to do next."""

from collections.abc import Iterator

from tenfold.data import DIGITS
from tenfold.formatting import format_duration, pluralize
from tenfold.kaggle import LeaderboardEntry, leaderboard_entries, leaderboard_position
from tenfold.metrics import Score, score
from tenfold.report.artifacts import RunArtifacts
from tenfold.report.error_analysis import labelled_predictions, low_confidence_sheet, mistakes_sheet
from tenfold.report.html import Head, Sheet
from tenfold.report.prediction_review import LOW_CONFIDENCE, least_certain_sheet

AMONG_KNOWN = "Among known results without test-label leakage"
STRIP_TILES = 12
MAX_EQUAL = 3  # known results that are named as equal


def run_head(artifacts: RunArtifacts) -> Head:
    """Return what the report of a run begins with."""
    test, validation = test_score(artifacts), validation_score(artifacts)
    best_known = test or validation
    value, label = "", ""
    if best_known is not None:
        value = f"{best_known.accuracy:.2%}"
        predicted = "leaderboard score" if is_of_digits(artifacts) else "accuracy"
        label = "of the test images correct" if test else f"predicted {predicted}"
    return Head(
        value,
        label,
        list(_sentences(artifacts, test, validation)),
        tiles=list(_tiles(artifacts, test, validation)),
        strip=_strip(artifacts),
        links=list(_links(artifacts)),
        next_step=_next_step(artifacts, test),
        warning=_warning(artifacts),
    )


def test_score(artifacts: RunArtifacts) -> Score | None:
    """Return the score on the test images, if their labels were known."""
    if artifacts.score is None:
        return None
    return Score(artifacts.score["correct"], artifacts.score["n"])


def validation_score(artifacts: RunArtifacts) -> Score | None:
    """Return the score on the held-out images, if there were any."""
    validation = artifacts.validation
    if validation is None or validation.labels is None:
        return None
    return score(validation.predicted, validation.labels)


def _sentences(
    artifacts: RunArtifacts, test: Score | None, validation: Score | None
) -> Iterator[str]:
    """Yield the score with its interval, what it is worth, and its rank."""
    if test is not None:
        yield f"On the test images, {describe(test)}."
    elif validation is not None:
        yield f"On the held-out images, {describe(validation)}."
    else:
        yield "No images were held out, so the run cannot predict its own score."
    if validation is not None:
        caveat = artifacts.recipe.validation_caveat()
        unbiased = "The held-out images were not used for model selection."
        low, high = validation.interval
        predicted = f"The predicted accuracy was {validation.accuracy:.4f} ({low:.4f}–{high:.4f}). "
        yield (predicted if test is not None else "") + (caveat or unbiased)
    best_known = test or validation
    if best_known is not None and is_of_digits(artifacts):
        yield rank_sentence(best_known)


def describe(found: Score) -> str:
    """Return a score in words: correct, n, accuracy and interval."""
    low, high = found.interval
    return (
        f"{found.correct:,} of {found.n:,} predictions are correct: accuracy {found.accuracy:.4f} "
        f"(95% interval {low:.4f}–{high:.4f})"
    )


def is_of_digits(artifacts: RunArtifacts) -> bool:
    """Whether the classes are those of the competition, whose results are known."""
    known = artifacts.predictions or artifacts.validation
    return known is not None and known.classes == DIGITS


def rank_sentence(found: Score) -> str:
    """Say where a score ranks among the known results without test-label leakage."""
    position = leaderboard_position(found.accuracy)
    if not position.above:
        return f"Known results: {position.summary()}."
    low, high = found.interval
    equal = [each for each in (*position.above, *position.below) if low <= each.score <= high]
    equal.sort(key=lambda each: abs(each.score - found.accuracy))
    if equal:
        names = [_name(each) for each in equal[:MAX_EQUAL]]
        listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        return f"{AMONG_KNOWN}, statistically indistinguishable from {listed}."
    above = f"below {_name(position.above[-1])}"
    below = f"above {_name(position.below[0])} and " if position.below else ""
    return f"{AMONG_KNOWN}, {below}{above}."


def _name(entry: LeaderboardEntry) -> str:
    method = entry.method.replace(":", ",").partition(",")[0]
    return f"{method} ({entry.score:.4f})"


def rank_rows(found: Score) -> list[tuple[str, str, str, str]]:
    """Return the known results and this one, best first, as rows of a table."""
    rows = [(each.score, each.method, each.images, each.interval) for each in leaderboard_entries()]
    rows.append((found.accuracy, "this run", found.n, found.interval))
    rows.sort(key=lambda row: -row[0])
    return [
        (method, f"{accuracy:.4f}", f"{low:.4f}–{high:.4f}", f"{images:,}")
        for accuracy, method, images, (low, high) in rows
    ]


def _tiles(
    artifacts: RunArtifacts, test: Score | None, validation: Score | None
) -> Iterator[tuple[str, str]]:
    """Yield other numbers, each with what it is."""
    predictions = artifacts.predictions
    if test is not None:
        yield "errors", f"{test.n - test.correct:,} of {test.n:,}"
        if validation is not None:
            yield "predicted before", f"{validation.accuracy:.2%}"
    elif predictions is not None:
        n_low = int((predictions.confidence < LOW_CONFIDENCE).sum())
        yield "predictions", f"{len(predictions):,}"
        yield f"below {LOW_CONFIDENCE:.0%} confidence", f"{n_low:,}"
    elif validation is not None:
        yield "errors", f"{validation.n - validation.correct:,} of {validation.n:,}"
    if artifacts.summary is not None:
        yield "training time", format_duration(artifacts.summary["train_s"])
    if artifacts.recognizer is not None:
        members = artifacts.recognizer.members
        parameters = sum(p.numel() for each in members for p in each.model.parameters())
        of_members = f" in {pluralize(len(members), 'network')}" if len(members) > 1 else ""
        yield f"parameters{of_members}", f"{parameters:,}"


def _strip(artifacts: RunArtifacts) -> Sheet | None:
    """Return a few mistakes, or without any the predictions of the lowest confidence."""
    known, predictions = labelled_predictions(artifacts), artifacts.predictions
    if known is not None and known.labels is not None:
        where = "held-out" if known is artifacts.validation else "test"
        sheet = mistakes_sheet(known, STRIP_TILES)
        title = f"Mistakes on the {where} images, the most confident first"
        if not len(sheet.images):
            sheet = low_confidence_sheet(known, STRIP_TILES)
            title = f"No mistake on the {where} images; the predictions of the lowest confidence"
        return Sheet("strip", title, sheet.note, sheet.images, sheet.captions)
    if predictions is not None:
        sheet = least_certain_sheet(predictions, STRIP_TILES)
        return Sheet("strip", sheet.title, sheet.note, sheet.images, sheet.captions)
    return None


def _links(artifacts: RunArtifacts) -> Iterator[tuple[str, str]]:
    folder = artifacts.folder
    for path in (folder.submission, folder.recipe, folder.recognizer):
        if path.is_file():
            yield path.name, path.name


def _next_step(artifacts: RunArtifacts, test: Score | None) -> tuple[str, str]:
    folder = artifacts.folder
    if not folder.submission.is_file():
        return (
            "Next: predict images without labels.",
            f"tenfold predict {folder.path} test.csv --out submission.csv",
        )
    if test is None:
        return "Next: submit the predictions to Kaggle.", f"tenfold submit {folder.submission}"
    if artifacts.recipe.name in {"best", "standard"}:
        return (
            "Next: test whether another run differs significantly.",
            f"tenfold report --compare {folder.path} OTHER_RUN",
        )
    return "Next: a higher score, in more time.", "tenfold run --recipe standard"


def _warning(artifacts: RunArtifacts) -> str:
    if not artifacts.missing:
        return ""
    missing = "; ".join(artifacts.missing)
    return f"Incomplete run: {missing}. What depends on these files is left out below."

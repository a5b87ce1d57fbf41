"""Kaggle: submit predictions, and compare a score with those on its leaderboard.

Kaggle's protocol is left to its official client. Added here are checks before the upload, which
save a wasted submission, and error messages that say what to do in place of a bare "403".
"""

import contextlib
import io
import logging
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TextIO

from tenfold.data import DIGITS, read_answers, read_submission
from tenfold.errors import DataError, SubmitError
from tenfold.metrics import wilson_interval

COMPETITION = "digit-recognizer"
EXPECTED_ROWS = {COMPETITION: 28_000}  # by competition, where known
INSTALL = "python -m pip install 'tenfold[kaggle]'"
POLL_INTERVAL_S = 3.0
TIMEOUT_S = 600.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KaggleResult:
    """What Kaggle returned for a submission.

    Attributes:
        competition: its name, as in its address.
        reference: Kaggle's number of the submission.
        message: the description stored with it on Kaggle.
        score: on the public leaderboard; None if it was not scored within ten minutes.
        remaining_today: further submissions allowed on this day (UTC); None if unknown.
    """

    competition: str
    reference: int
    message: str
    score: float | None
    remaining_today: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON holds them."""
        return asdict(self)


def submit(path: Path, message: str, competition: str = COMPETITION) -> KaggleResult:
    """Check the file at `path` and the access to Kaggle, upload it, and wait for the score.

    Args:
        path: the submission file.
        message: the description to store with it on Kaggle.
        competition: its name, as in its address.

    Raises:
        DataError: Kaggle would not accept the file.
        SubmitError: the client or the credentials are missing, the rules are not accepted, no
            submission is left today, or Kaggle cannot be reached or refuses.
    """
    _check_file(path, competition)
    client = _client()
    with _translate_errors(competition):
        _check_entered(client, competition)
        remaining = _remaining_submissions(client, competition)
        left = "" if remaining is None else f" ({remaining} left today)"
        logger.info(f"submitting {path} to {competition}{left}")
        with _stdout_to_stderr():
            response = client.competition_submit(str(path), message, competition, quiet=True)
        if response.message == client.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
            raise SubmitError("the upload to Kaggle failed; nothing was submitted, try again")
        logger.info(f"Kaggle: {response.message}")
        score = _wait_for_score(client, competition, response.ref)
    remaining_today = None if remaining is None else max(0, remaining - 1)
    return KaggleResult(competition, response.ref, message, score, remaining_today)


def _check_file(path: Path, competition: str) -> None:
    """Read the file as the competition would, before a submission is spent on it."""
    if competition != COMPETITION:  # whose header and ids are not known
        read_answers(path)
        return
    labels = read_submission(path)
    expected = EXPECTED_ROWS.get(competition)
    if expected is not None and len(labels) != expected:
        raise DataError(
            f"{path}: has {len(labels):,} predictions, expected {expected:,}, one for each image "
            f"of {competition}"
        )
    invalid = [label for label in labels.tolist() if str(label) not in DIGITS]
    if invalid:
        raise DataError(f"{path}: has the label {invalid[0]}, expected digits from 0 to 9")


def _client() -> Any:
    """Return the official client, authenticated.

    Importing it authenticates already, prints advice, and exits where it finds no credentials.
    """
    output = io.StringIO()  # its advice to those without credentials is replaced by our message
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            from kaggle.api.kaggle_api_extended import KaggleApi  # noqa: PLC0415 - an extra

            client = KaggleApi()
            with _translate_errors(COMPETITION):
                client.authenticate()
    except ImportError as error:
        raise SubmitError(
            f"Kaggle's client is not installed ({error}), expected it from: {INSTALL}"
        ) from error
    except SystemExit as error:
        raise SubmitError(
            "no valid Kaggle credentials were found: make a token on kaggle.com under Settings, "
            "API, and put it into ~/.kaggle/access_token or the variable KAGGLE_API_TOKEN; if one "
            "is there, it has expired"
        ) from error
    return client


def _check_entered(client: Any, competition: str) -> None:
    """Check that the competition exists, takes submissions, and has been entered."""
    from kagglesdk.competitions.types.competition_api_service import (  # noqa: PLC0415 - an extra
        ApiGetCompetitionRequest,
    )

    request = ApiGetCompetitionRequest()
    request.competition_name = competition
    with _stdout_to_stderr(), client.build_kaggle_client() as kaggle:
        found = kaggle.competitions.competition_api_client.get_competition(request)
    if found.submissions_disabled:
        raise SubmitError(f"{competition}: takes no submissions any more")
    if not found.user_has_entered:
        raise SubmitError(
            f"{competition}: its rules are not accepted yet; accept them once in a browser at "
            f"www.kaggle.com/competitions/{competition}/rules"
        )


def _remaining_submissions(client: Any, competition: str) -> int | None:
    """Return how many submissions are left today; None for a team that has none so far."""
    with _stdout_to_stderr():
        limits = client.competition_get_submission_limits(competition)
    if not limits.num_total and not limits.num_allowed_now:
        return None  # Kaggle reports zeros before a team's first submission
    if not limits.num_allowed_now:
        raise SubmitError(
            f"{competition}: no submission is left today ({limits.num_today} were made); "
            "the count starts again at midnight UTC"
        )
    remaining: int = limits.num_allowed_now
    return remaining


def _wait_for_score(client: Any, competition: str, reference: int) -> float | None:
    """Poll until the submission is scored, or for ten minutes."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with _stdout_to_stderr():
                submissions = client.competition_submissions(competition)
        except OSError:  # of the network; the submission is in already
            submissions = []
        own = [each for each in submissions if each.ref == reference]
        status = own[0].status.name if own else "PENDING"
        if status == "ERROR":
            reason = own[0].error_description or "no reason given"
            raise SubmitError(f"{competition}: Kaggle could not score the file ({reason})")
        if status == "COMPLETE":
            score: str = own[0].public_score
            return float(score) if score else None
        logger.info("waiting for the score")
        time.sleep(POLL_INTERVAL_S)
    logger.warning("no score yet; the competition's page will show it")
    return None


def _stdout_to_stderr() -> contextlib.redirect_stdout[TextIO]:
    """Send what the client prints, such as that it is outdated, to stderr: stdout may be JSON."""
    return contextlib.redirect_stdout(sys.stderr)


@contextlib.contextmanager
def _translate_errors(competition: str) -> Iterator[None]:
    """Turn exceptions of the client's HTTP library into a SubmitError that says what to do."""
    import requests  # noqa: PLC0415 - comes with the extra

    try:
        yield
    except requests.HTTPError as error:
        status = None if error.response is None else error.response.status_code
        raise SubmitError(_http_advice(status, competition, str(error))) from error
    except requests.RequestException as error:
        raise SubmitError(
            f"Kaggle cannot be reached ({type(error).__name__}); is the network up?"
        ) from error


def _http_advice(status: int | None, competition: str, message: str) -> str:
    match status:
        case 401:
            return (
                "Kaggle does not accept the credentials (401): the token has expired or was "
                "revoked; make a new one on kaggle.com under Settings, API"
            )
        case 403:
            return (
                f"{competition}: Kaggle refuses (403): either its name is wrong, expected it as in "
                "the competition's address, or its rules are not accepted yet; see "
                f"www.kaggle.com/competitions/{competition}/rules"
            )
        case 404:
            return (
                f"{competition}: there is no such competition (404), expected its name as in its "
                f"address, such as {COMPETITION}"
            )
        case 429:
            return "Kaggle received too many requests (429); wait a minute, then try again"
        case _:
            return f"{competition}: Kaggle refuses ({message})"


@dataclass(frozen=True)
class LeaderboardEntry:
    """A known score on digits like those of the competition, reached without test-label leakage.

    Attributes:
        method: what reached it.
        score: accuracy from 0 to 1.
        images: how many predictions the score counts.
        source: "published" by its author, or "ours": measured by us (docs/results.md).
    """

    method: str
    score: float
    images: int
    source: str

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson interval of the score."""
        return wilson_interval(round(self.score * self.images), self.images)


@dataclass(frozen=True)
class LeaderboardPosition:
    """A score among the known ones.

    Attributes:
        score: accuracy from 0 to 1.
        above: the known entries that are higher, best first.
        below: those that are not.
    """

    score: float
    above: tuple[LeaderboardEntry, ...]
    below: tuple[LeaderboardEntry, ...]

    def summary(self) -> str:
        """Return the position in one sentence, without a full stop."""
        if self.score > plausible_max():
            return (
                f"{self.score:.5g} is above what is known to be possible without test-label "
                f"leakage: the best published score, {best_published().score}, has a 95% interval "
                f"that ends at {plausible_max():.5f}"
            )
        if not self.above:
            return f"no known score without test-label leakage is above {self.score:.5g}"
        higher = self.above[-1]
        text = f"{self.score:.5g} is below {higher.score:g} ({higher.method})"
        if self.score >= higher.interval[0]:
            text += ", but inside its 95% interval"
        if self.below:
            text += f", and at or above {self.below[0].score:g} ({self.below[0].method})"
        return text


def leaderboard_entries() -> list[LeaderboardEntry]:
    """Return the known scores, best first."""
    text = (resources.files("tenfold") / "leaderboard.toml").read_text("utf-8")
    entries = [LeaderboardEntry(**entry) for entry in tomllib.loads(text)["entry"]]
    return sorted(entries, key=lambda entry: -entry.score)


def best_published() -> LeaderboardEntry:
    """Return the published entry with the highest score."""
    return next(entry for entry in leaderboard_entries() if entry.source == "published")


def plausible_max() -> float:
    """Return the upper end of the 95% interval of the best published score.

    Sampling variance alone does not lift that method's score above it.
    """
    return best_published().interval[1]


def leaderboard_position(score: float) -> LeaderboardPosition:
    """Return where `score`, an accuracy from 0 to 1, ranks among the known ones.

    Raises:
        DataError: it is no such number.
    """
    if not 0 <= score <= 1:
        raise DataError(f"the score is {score:g}, expected an accuracy from 0 to 1 such as 0.9957")
    entries = leaderboard_entries()
    return LeaderboardPosition(
        score,
        tuple(entry for entry in entries if entry.score > score),
        tuple(entry for entry in entries if entry.score <= score),
    )

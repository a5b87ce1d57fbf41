"""The last step: handing a submission in, through Kaggle's own client.

Nothing here speaks Kaggle's protocol; the official client does. What is added is to look before
leaping, so that a wasted submission or a bare "403" becomes a sentence that says what to do.
"""

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from tenfold.data import DIGITS, read_submission
from tenfold.errors import DataError, SubmitError

COMPETITION = "digit-recognizer"
ROWS = {COMPETITION: 28_000}  # that a competition expects, where we know
INSTALL = "python -m pip install 'tenfold[kaggle]'"
SECONDS_BETWEEN_QUESTIONS = 3.0
SECONDS_TO_WAIT = 600.0


@dataclass(frozen=True)
class KaggleResult:
    """What became of a submission.

    Attributes:
        competition: where it was handed in.
        reference: Kaggle's number for it.
        message: what was written beside it.
        score: on the public leaderboard; None while Kaggle has not said.
        remaining_today: further submissions allowed on this day (UTC); None if Kaggle did not say.
    """

    competition: str
    reference: int
    message: str
    score: float | None
    remaining_today: int | None

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON holds it."""
        return asdict(self)


def submit(
    path: Path,
    message: str,
    competition: str = COMPETITION,
    *,
    note: Callable[[str], None] = lambda _sentence: None,
) -> KaggleResult:
    """Check `path` and the way to Kaggle, hand it in, and wait for the score.

    Args:
        path: the submission file.
        message: what is to stand beside it on Kaggle.
        competition: as in the competition's address.
        note: is told how it goes.

    Raises:
        DataError: the file would not be accepted.
        SubmitError: the client or the credentials are missing, the rules are not accepted, no
            submission is left today, or Kaggle cannot be reached or refuses.
    """
    _check_file(path, competition)
    client = _client()
    with _translate_errors(competition):
        _check_entry(client, competition)
        left = _submissions_left(client, competition)
        note(
            f"handing in {path} to {competition}"
            + ("" if left is None else f" ({left} left today)")
        )
        with _stdout_to_stderr():
            response = client.competition_submit(str(path), message, competition, quiet=True)
        if response.message == client.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
            raise SubmitError("the upload to Kaggle broke off; nothing was handed in, try again")
        note(f"Kaggle has it: {response.message}")
        score = _wait_for_score(client, competition, response.ref, note)
    return KaggleResult(
        competition, response.ref, message, score, None if left is None else max(0, left - 1)
    )


def _check_file(path: Path, competition: str) -> None:
    """Read the file as the competition would, before a submission is spent on it."""
    labels = read_submission(path)
    expected = ROWS.get(competition)
    if expected is not None and len(labels) != expected:
        raise DataError(
            f"{path}: has {len(labels):,} answers, expected {expected:,}, one for each image of "
            f"{competition}"
        )
    odd = [label for label in labels.tolist() if str(label) not in DIGITS]
    if competition == COMPETITION and odd:
        raise DataError(f"{path}: has an answer {odd[0]}, expected digits from 0 to 9")


def _client() -> Any:
    """Return the official client, signed in.

    Importing it signs in already, prints what it thinks, and exits where it finds no credentials.
    """
    said = io.StringIO()  # its advice to those without credentials is long, ours is a sentence
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
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


def _check_entry(client: Any, competition: str) -> None:
    """Make sure that the competition is there, open, and entered."""
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
            f"{competition}: its rules are not accepted yet; do so once in a browser at "
            f"www.kaggle.com/competitions/{competition}/rules"
        )


def _submissions_left(client: Any, competition: str) -> int | None:
    """Return how many submissions today still allows; None for a team that has none so far."""
    with _stdout_to_stderr():
        limits = client.competition_get_submission_limits(competition)
    if not limits.num_total and not limits.num_allowed_now:
        return None  # Kaggle counts nothing before a team's first submission
    if not limits.num_allowed_now:
        raise SubmitError(
            f"{competition}: no submission is left today ({limits.num_today} were made); "
            "the count begins again at midnight UTC"
        )
    left: int = limits.num_allowed_now
    return left


def _wait_for_score(
    client: Any, competition: str, reference: int, note: Callable[[str], None]
) -> float | None:
    """Ask until the submission is scored, or for ten minutes."""
    asked_until = time.monotonic() + SECONDS_TO_WAIT
    while time.monotonic() < asked_until:
        try:
            with _stdout_to_stderr():
                known = client.competition_submissions(competition)
        except OSError:  # of the network; what was handed in stays handed in
            known = []
        own = [one for one in known if one.ref == reference]
        status = own[0].status.name if own else "PENDING"
        if status == "ERROR":
            reason = own[0].error_description or "no reason given"
            raise SubmitError(f"{competition}: Kaggle could not score the file ({reason})")
        if status == "COMPLETE":
            score: str = own[0].public_score
            return float(score) if score else None
        note("  waiting for the score")
        time.sleep(SECONDS_BETWEEN_QUESTIONS)
    note("no score yet; it will stand on the competition's page")
    return None


def _stdout_to_stderr() -> contextlib.redirect_stdout[TextIO]:
    """Send what the client prints, such as that it is outdated, to stderr: stdout may be JSON."""
    return contextlib.redirect_stdout(sys.stderr)


@contextlib.contextmanager
def _translate_errors(competition: str) -> Iterator[None]:
    """Turn what the client raises into sentences that say what to do."""
    import requests  # noqa: PLC0415 - comes with the extra

    try:
        yield
    except requests.HTTPError as error:
        status = None if error.response is None else error.response.status_code
        raise SubmitError(_advice(status, competition, str(error))) from error
    except requests.RequestException as error:
        raise SubmitError(
            f"Kaggle cannot be reached ({type(error).__name__}); is the network up?"
        ) from error


def _advice(status: int | None, competition: str, said: str) -> str:
    match status:
        case 401:
            return (
                "Kaggle does not accept the credentials (401): the token has expired or was "
                "withdrawn; make a new one on kaggle.com under Settings, API"
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
            return (
                "Kaggle asks for patience (429): too many requests; wait a minute, then try again"
            )
        case _:
            return f"{competition}: Kaggle refuses ({said})"

"""Everything that can go wrong and is not a bug of ours.

    TenfoldError               a sentence for the caller; the command line exits with 2
    ├── DataError              a file or array is not what it should be; also a ValueError
    │   └── ImageError         a picture cannot be read
    ├── SourceError            a dataset cannot be fetched
    ├── RecipeError            a recipe cannot work; lists every problem
    ├── RecognizerError        a saved recognizer or run folder is damaged or does not fit
    ├── OutputError            a result cannot be written
    ├── DependencyError        an optional package is not installed; also an ImportError
    ├── ExperimentError        a search or a comparison cannot be done as asked
    ├── JobError               one of several pieces of work failed; what is finished is kept
    └── SubmitError            a submission to Kaggle failed
    Interrupted                stopped by Ctrl-C or SIGTERM, state saved; exits with 130

Each message is one sentence that says what was found, where, and what was expected.
"""

from collections.abc import Sequence

MAX_PROBLEMS = 20  # of a recipe, in one message


class TenfoldError(Exception):
    """A mistake that the caller can mend. `str(error)` is one sentence."""

    exit_code = 2


class DataError(TenfoldError, ValueError):
    """A data file or array is not what it should be.

    It is also a ValueError, as callers of NumPy and scikit-learn expect for bad input.
    """


class ImageError(DataError):
    """A picture cannot be read: it is missing, damaged, too large, or no picture."""


class SourceError(TenfoldError):
    """A dataset could be had from none of its sources."""


class RecipeError(TenfoldError):
    """A recipe cannot work. `problems` holds one sentence for each reason; the message, of many,
    those that fit on a screen.
    """  # noqa: D205 - the summary spans two lines

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        shown, more = self.problems[:MAX_PROBLEMS], len(self.problems) - MAX_PROBLEMS
        rest = [f"and {more:,} more"] if more > 0 else []
        super().__init__(f"recipe {source}: " + "; ".join([*shown, *rest]))


class RecognizerError(TenfoldError):
    """A saved recognizer, checkpoint or run folder is damaged or does not fit its use."""


class OutputError(TenfoldError):
    """A result cannot be written where it was asked for."""


class DependencyError(TenfoldError, ImportError):
    """An optional package is not installed; the message says which command installs it."""


class ExperimentError(TenfoldError):
    """A search or a comparison cannot be done as asked. What is finished is kept."""


class JobError(TenfoldError):
    """One of several pieces of work failed. What the others finished is kept."""


class SubmitError(TenfoldError):
    """A submission failed. Nothing was submitted, unless the message says so."""


class Interrupted(Exception):
    """The user stopped the work; the message says what is saved and how to resume."""

    exit_code = 130

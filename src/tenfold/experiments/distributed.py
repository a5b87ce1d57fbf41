"""One search by many machines, with a PostgreSQL database between them.

Each machine draws and runs trials of the same study until there are enough: nobody waits for a
rung, so who goes on is decided by what is known so far (asynchronous successive halving: Li et al.,
'A system for massively parallel hyperparameter tuning', MLSys 2020). A heartbeat tells who is
alive; the trial of a machine that fell silent is run again by another.
"""

import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.data.dataset import Dataset
from tenfold.errors import ExperimentError, Interrupted, RecipeError
from tenfold.experiments.halving import REDUCTION, Entry, RungResult, rungs
from tenfold.experiments.search import Search, SearchResult
from tenfold.experiments.space import SearchConfig
from tenfold.experiments.study import NAME, optuna_, sampler_of
from tenfold.formatting import pluralize
from tenfold.jobs import LOCAL, Executor
from tenfold.run_folder import ExperimentFolder
from tenfold.training.console import NullDisplay, Standing, StatusDisplay, add_resume_hint

if TYPE_CHECKING:
    import optuna


HEARTBEAT_S = 10
GRACE_PERIOD_S = 40  # after so many seconds without a heartbeat a trial is given to another
MOST_RETRIES = 3
SECONDS_BETWEEN_LOOKS = 1.0


def search_shared(
    labelled: Dataset,
    plan: SearchConfig,
    out: Path,
    storage: str,
    *,
    worker: bool,
    executor: str | Executor = LOCAL,
    board: StatusDisplay | None = None,
) -> SearchResult | None:
    """Take part in the search in `storage`; without `worker`, conclude it too.

    Args:
        labelled: the images, the same everywhere.
        plan: what to search, the same everywhere.
        out: a folder of this process's own.
        storage: postgresql://user@host/database.
        worker: leave the conclusion to another process, and return None.
        executor: where this machine's jobs run.
        board: is told how it goes.

    Raises:
        ExperimentError: the database cannot be reached or holds another search; or as `search`.
        Interrupted: Ctrl-C or SIGTERM; the trial is handed to the others.
    """
    board = NullDisplay() if board is None else board
    folder = ExperimentFolder(out, "search")
    database = address_of(storage)
    identity, parts = plan.identity(labelled), plan.parts(labelled)
    with folder.alone(), add_resume_hint(board), _reached(storage):
        shared = SharedSearch(
            identity, parts, plan, folder, database, executor=executor, board=board
        )
        if not worker:
            return shared.run(None)
        shared.try_all(None)
        for path in shared.input_files:
            path.unlink(missing_ok=True)
    return None


class SharedSearch(Search):
    """A search whose trials other machines run too."""

    def __init__(
        self,
        identity: dict[str, Any],
        parts: Mapping[str, Dataset],
        plan: SearchConfig,
        folder: ExperimentFolder,
        database: str,
        *,
        executor: str | Executor,
        board: StatusDisplay,
    ) -> None:
        super().__init__(identity, parts, plan, folder, executor=executor, board=board)
        self.database = database  # its address, as SQLAlchemy has it
        self.here = "none here"  # what this machine is at

    def try_all(self, budget_s: float | None) -> None:
        """Run trials until there are enough, whoever ran them."""
        del budget_s
        library = optuna_()
        failures = (RecipeError, _FailedError)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls heartbeats experimental
            with self._study() as study:
                while (left := self._left(study)) is not None:
                    if left:
                        study.optimize(self._objective, n_trials=1, catch=failures)
                    else:
                        time.sleep(SECONDS_BETWEEN_LOOKS)  # others run the last ones
                        library.storages.fail_stale_trials(study)
        self.entries = self.entries[: self.plan.trials]

    @contextmanager
    def _study(self) -> Iterator["optuna.Study"]:
        """Open the study in the database, or begin it; let go of the database at the end."""
        library = optuna_()
        retry = library.storages.RetryHeartbeatStaleTrialCallback(MOST_RETRIES)
        database = library.storages.RDBStorage(
            self.database,
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT_S,
            grace_period=GRACE_PERIOD_S,
            heartbeat_stale_trial_callback=retry,
        )
        try:
            # Many machines draw at once, each with luck of its own.
            own = int.from_bytes(os.urandom(4), "big")
            study: optuna.Study = library.create_study(
                storage=database,
                study_name=NAME,
                direction="maximize",
                load_if_exists=True,
                sampler=sampler_of(self.plan.sampler, self.plan.seed, own),
                pruner=library.pruners.NopPruner(),  # `_should_promote` decides
            )
            self._check(study)
            yield study
        finally:
            database.remove_session()
            database.engine.dispose()

    def _check(self, study: "optuna.Study") -> None:
        """Make sure that the study is of this search."""
        before = study.user_attrs.get("identity")
        if before is None:
            study.set_user_attr("identity", self.identity)
        elif differing := sorted(key for key in before if before[key] != self.identity.get(key)):
            raise ExperimentError(
                f"the database holds a search that differs in {' and '.join(differing)}, "
                "expected the same, or another database"
            )

    def _left(self, study: "optuna.Study") -> int | None:
        """Return how many trials nobody runs yet; None when all are finished."""
        states = [trial.state.name for trial in study.get_trials(deepcopy=False)]
        finished = _finished(study)
        self.entries = [self._entry(trial) for trial in finished]
        self.here = "none here"
        self.show()
        if len(finished) >= self.plan.trials:
            return None
        left: int = self.plan.trials - len(finished) - states.count("RUNNING")
        return max(0, left)

    def show(self) -> None:
        """Show what all machines have finished, and what this one is at."""
        ran = sorted((entry for entry in self.entries if entry.reached), key=Entry.rank)
        best = f"best {ran[0].reached[-1].accuracy:.4f}, " if ran else ""
        asked = pluralize(self.plan.trials, "trial")
        line = f"{best}{len(self.entries)} of {asked} finished, {self.here}"
        self.board.show(Standing(line, ("trials",), [(line,)]))

    def _objective(self, trial: "optuna.Trial") -> float:
        """Run one trial rung by rung, until it is pruned or whole."""
        drawn = {each.place: each.suggest(trial) for each in self.plan.space.dimensions}
        try:
            entry = Entry(trial.number, drawn, self.plan.space.recipe(drawn))
            steps = rungs(self.plan.trials)
            for index, rung in enumerate(steps):
                self.here = f"trial {trial.number} on rung {index + 1} of {len(steps)} here"
                self.train(rung, [entry], lambda: True)
                if entry.state == "failed":
                    raise _FailedError(entry.reason)
                reached = entry.reached[-1]
                trial.set_user_attr(f"rung{index}", vars(reached))
                trial.report(reached.accuracy, rung.step)
                if not rung.last and not _should_promote(trial.study, index, reached):
                    raise optuna_().TrialPruned
        except (RecipeError, _FailedError) as error:
            trial.set_user_attr("reason", str(error))
            raise
        except Interrupted:
            trial.study.enqueue_trial(drawn)
            raise
        return entry.reached[-1].accuracy

    def _entry(self, trial: Any) -> Entry:
        """Return a finished trial as the table has it, under its number in the study."""
        states = {"COMPLETE": "complete", "PRUNED": "stopped early", "FAIL": "failed"}
        attributes = trial.user_attrs
        reached = [
            RungResult(**attributes[f"rung{index}"])
            for index in range(len(rungs(self.plan.trials)))
            if f"rung{index}" in attributes
        ]
        try:
            recipe = self.plan.space.recipe(trial.params)
        except (RecipeError, KeyError):
            recipe = None
        reason = attributes.get("reason", "")
        state = states[trial.state.name]
        return Entry(trial.number, trial.params, recipe, reached, state, reason)


class _FailedError(Exception):
    """A trial could not be trained."""


def _should_promote(study: "optuna.Study", index: int, reached: RungResult) -> bool:
    """Tell whether a trial is in the best third of those that got as far, on as much, until now.

    A race of more trials begins cheaper; what they reach is not held against what others did.
    """
    others = [
        RungResult(**trial.user_attrs[f"rung{index}"])
        for trial in study.get_trials(deepcopy=False)
        if f"rung{index}" in trial.user_attrs and not _fell_silent(trial)
    ]
    equals = [other.accuracy for other in others if other.share == reached.share]
    best = sorted(equals, reverse=True)[: max(1, len(equals) // REDUCTION)]
    return reached.accuracy >= best[-1]


def _finished(study: "optuna.Study") -> list[Any]:
    """Return what ended for good; a trial that fell silent is drawn again, and does not count."""
    trials = study.get_trials(deepcopy=False)
    return [each for each in trials if each.state.is_finished() and not _fell_silent(each)]


def _fell_silent(trial: Any) -> bool:
    """Tell whether nobody said why it failed; a reason is written a moment before it is closed."""
    return trial.state.name == "FAIL" and "reason" not in trial.user_attrs


def address_of(storage: str) -> str:
    """Return the address of a database with the name of the driver that we use.

    Raises:
        ExperimentError: it is no PostgreSQL, or the driver is missing.
    """
    if not storage.startswith("postgresql://"):
        raise ExperimentError(
            f"--storage {_redact(storage)}: expected postgresql://user@host/database; other "
            "databases are not for many writers at once, or not tried"
        )
    try:
        import psycopg  # noqa: F401, PLC0415 - an optional extra
    except ImportError as error:
        raise ExperimentError(
            "--storage needs PostgreSQL's driver: pip install 'tenfold[postgres]'"
        ) from error
    return storage.replace("postgresql://", "postgresql+psycopg://", 1)


@contextmanager
def _reached(storage: str) -> Iterator[None]:
    """Say in one sentence when the database cannot be reached, or is lost."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - slow to import

    try:
        yield
    except SQLAlchemyError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ExperimentError(
            f"--storage {_redact(storage)}: the database cannot be reached, or was lost "
            f"({lines[0]}); what is finished is kept"
        ) from error
    except Exception as error:
        if type(error).__name__ != "StorageInternalError":
            raise
        raise ExperimentError(
            f"--storage {_redact(storage)}: the database cannot be reached, or was lost; what is "
            "finished is kept"
        ) from error


def _redact(storage: str) -> str:
    """Return the address without its password."""
    return re.sub(r"://([^:/@]+):[^@]*@", r"://\1:***@", storage)

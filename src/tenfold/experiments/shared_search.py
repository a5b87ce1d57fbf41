"""One search by many machines, which share an Optuna study in a PostgreSQL database.

Each machine samples and runs trials of the same study until there are enough. No trial waits for a
rung to end: whether it is promoted is decided from the results so far (asynchronous successive
halving: Li et al., 'A system for massively parallel hyperparameter tuning', MLSys 2020). Every
running trial has a heartbeat; a stale one is run again by another machine.
"""

import os
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tenfold.data.dataset import Dataset
from tenfold.errors import ExperimentError, Interrupted, RecipeError
from tenfold.experiments.halving import REDUCTION_FACTOR, RungResult, Trial, TrialState, make_rungs
from tenfold.experiments.search import SearchResult, TrialRunner, finalize
from tenfold.experiments.space import SearchConfig
from tenfold.experiments.study import STUDY_NAME, import_optuna, make_sampler
from tenfold.experiments.trial import add_resume_hint
from tenfold.formatting import pluralize
from tenfold.jobs import LOCAL, Executor
from tenfold.run_folder import ExperimentFolder
from tenfold.training.callbacks import Callback, Status

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


HEARTBEAT_S = 10
GRACE_PERIOD_S = 40  # a trial without a heartbeat for so long is stale
MAX_RETRIES = 3
POLL_INTERVAL_S = 1.0
IDLE = "none here"


def search_shared(
    labelled: Dataset,
    config: SearchConfig,
    out: Path,
    storage: str,
    *,
    worker: bool,
    executor: str | Executor = LOCAL,
    callback: Callback | None = None,
) -> SearchResult | None:
    """Run trials of the search in `storage`; unless `worker`, also finalize it.

    Args:
        labelled: the images, the same on every machine.
        config: the search, the same on every machine.
        out: a folder of this process's own.
        storage: postgresql://user@host/database.
        worker: leave the paired test and the report to another process, and return None.
        executor: of this machine's jobs.
        callback: its hook `on_status` is called whenever something changes.

    Raises:
        ExperimentError: the database cannot be reached or holds another search; or as `search`.
        Interrupted: Ctrl-C or SIGTERM; the running trial is queued for other machines.
    """
    callback = Callback() if callback is None else callback
    folder = ExperimentFolder(out, "search")
    url = sqlalchemy_url(storage)
    identity, datasets = config.identity(labelled), config.split(labelled)
    with folder.lock(), add_resume_hint(callback), _explain_database_errors(storage):
        runner = TrialRunner(config, identity, datasets, folder, executor)
        trials = SharedSearch(runner, url, callback).run_trials()
        if not worker:
            return finalize(runner, trials, callback)
        runner.remove_input_files()
    return None


class SharedSearch:
    """A search whose trials other machines run too; `url` is SQLAlchemy's of the database."""

    def __init__(self, runner: TrialRunner, url: str, callback: Callback) -> None:
        self._runner, self._url, self._callback = runner, url, callback
        self._config = runner.config
        self._trials: list[Trial] = []  # those that have finished
        self._running_here = IDLE

    def run_trials(self) -> list[Trial]:
        """Run trials until there are enough, and return the first of all that finished."""
        optuna = import_optuna()
        failures = (RecipeError, _TrialFailedError)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls heartbeats experimental
            with self._open_study() as study:
                while (unclaimed := self._unclaimed(study)) is not None:
                    if unclaimed:
                        study.optimize(self._objective, n_trials=1, catch=failures)
                    else:
                        time.sleep(POLL_INTERVAL_S)  # other machines run the last ones
                        optuna.storages.fail_stale_trials(study)
        return self._trials[: self._config.trials]

    @contextmanager
    def _open_study(self) -> Iterator["optuna.Study"]:
        """Open the study in the database, or create it; close the connections at the end."""
        library = import_optuna()
        retry = library.storages.RetryHeartbeatStaleTrialCallback(MAX_RETRIES)
        storage = library.storages.RDBStorage(
            self._url,
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT_S,
            grace_period=GRACE_PERIOD_S,
            heartbeat_stale_trial_callback=retry,
        )
        try:
            # Machines that sample at the same time must not draw the same.
            own_seed = int.from_bytes(os.urandom(4), "big")
            study: optuna.Study = library.create_study(
                storage=storage,
                study_name=STUDY_NAME,
                direction="maximize",
                load_if_exists=True,
                sampler=make_sampler(self._config.sampler, self._config.seed, own_seed),
                pruner=library.pruners.NopPruner(),  # `_should_promote` decides
            )
            self._claim(study)
            yield study
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def _claim(self, study: "optuna.Study") -> None:
        """Make sure that the study is of the same search."""
        folder, identity = self._runner.folder, self._runner.identity
        attributes = study.user_attrs
        if "identity" not in attributes:
            study.set_user_attr("format", folder.format)
            study.set_user_attr("identity", dict(identity))
            return
        folder.check_format(attributes, "the database")
        earlier = attributes["identity"]
        if differing := sorted(key for key in earlier if earlier[key] != identity.get(key)):
            raise ExperimentError(
                f"the database holds a search that differs in {' and '.join(differing)}, "
                "expected the same, or another database"
            )

    def _unclaimed(self, study: "optuna.Study") -> int | None:
        """Return how many trials no machine runs yet; None when all have finished."""
        states = [trial.state.name for trial in study.get_trials(deepcopy=False)]
        self._trials = [self._to_trial(trial) for trial in _finished(study)]
        self._running_here = IDLE
        self._show()
        left = self._config.trials - len(self._trials)
        return None if left <= 0 else max(0, left - states.count("RUNNING"))

    def _objective(self, optuna_trial: "optuna.Trial") -> float:
        """Train one trial rung by rung, until it is pruned or complete."""
        space, number = self._config.space, optuna_trial.number
        params = {each.param_name: each.suggest(optuna_trial) for each in space.dimensions}
        try:
            trial = Trial(number, params, space.recipe(params))
            rungs = make_rungs(self._config.trials)
            for index, rung in enumerate(rungs):
                self._running_here = f"trial {number} on rung {index + 1} of {len(rungs)} here"
                self._runner.train(rung, [trial], on_change=self._show)
                if trial.state == "failed":
                    raise _TrialFailedError(trial.reason)
                result = trial.results[-1]
                optuna_trial.set_user_attr(f"rung{index}", vars(result))
                optuna_trial.report(result.accuracy, rung.step)
                if not rung.is_last and not _should_promote(optuna_trial.study, index, result):
                    raise import_optuna().TrialPruned
        except (RecipeError, _TrialFailedError) as error:
            optuna_trial.set_user_attr("reason", str(error))
            raise
        except Interrupted:
            optuna_trial.study.enqueue_trial(params)
            raise
        return trial.results[-1].accuracy

    def _to_trial(self, optuna_trial: "FrozenTrial") -> Trial:
        """Return a finished trial of the study, with its number there."""
        states: dict[str, TrialState] = {
            "COMPLETE": "complete",
            "PRUNED": "pruned",
            "FAIL": "failed",
        }
        params, attributes = optuna_trial.params, optuna_trial.user_attrs
        try:
            recipe = self._config.space.recipe(params)
        except (RecipeError, KeyError):
            recipe = None
        return Trial(
            number=optuna_trial.number,
            params=params,
            recipe=recipe,
            results=[
                RungResult(**attributes[f"rung{index}"])
                for index in range(len(make_rungs(self._config.trials)))
                if f"rung{index}" in attributes
            ],
            state=states[optuna_trial.state.name],
            reason=attributes.get("reason", ""),
        )

    def _show(self) -> None:
        """Show what all machines have finished, and what this one runs."""
        ranked = sorted((trial for trial in self._trials if trial.results), key=Trial.sort_key)
        best = f"best {ranked[0].results[-1].accuracy:.4f}, " if ranked else ""
        total = pluralize(self._config.trials, "trial")
        line = f"{best}{len(self._trials)} of {total} finished, {self._running_here}"
        self._callback.on_status(Status(line, ("trials",), [(line,)]))


class _TrialFailedError(Exception):
    """A trial could not be trained."""


def _should_promote(study: "optuna.Study", index: int, result: RungResult) -> bool:
    """Tell whether a trial is in the best third of those with a result on its rung so far.

    A search of more trials has smaller budgets: only results of the same budget are compared.
    """
    others = [
        RungResult(**trial.user_attrs[f"rung{index}"])
        for trial in study.get_trials(deepcopy=False)
        if f"rung{index}" in trial.user_attrs and not _is_stale(trial)
    ]
    accuracies = [
        other.accuracy for other in others if other.budget_fraction == result.budget_fraction
    ]
    best = sorted(accuracies, reverse=True)[: max(1, len(accuracies) // REDUCTION_FACTOR)]
    return result.accuracy >= best[-1]


def _finished(study: "optuna.Study") -> list["FrozenTrial"]:
    """Return the finished trials without the stale ones, which are run again."""
    trials = study.get_trials(deepcopy=False)
    return [trial for trial in trials if trial.state.is_finished() and not _is_stale(trial)]


def _is_stale(trial: "FrozenTrial") -> bool:
    """Tell whether a trial failed for want of a heartbeat: any other failure has a reason."""
    return trial.state.name == "FAIL" and "reason" not in trial.user_attrs


def sqlalchemy_url(storage: str) -> str:
    """Return the URL of a database with the name of the driver.

    Raises:
        ExperimentError: it is not PostgreSQL, or the driver is not installed.
    """
    if not storage.startswith("postgresql://"):
        raise ExperimentError(
            f"--storage {_redact(storage)}: expected postgresql://user@host/database; other "
            "databases do not take many writers at once, or are not tested"
        )
    try:
        import psycopg  # noqa: F401, PLC0415 - an optional extra
    except ImportError as error:
        raise ExperimentError(
            "--storage needs PostgreSQL's driver: pip install 'tenfold[postgres]'"
        ) from error
    return storage.replace("postgresql://", "postgresql+psycopg://", 1)


@contextmanager
def _explain_database_errors(storage: str) -> Iterator[None]:
    """Raise one sentence when the database cannot be reached, or is lost."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - slow to import

    problem = f"--storage {_redact(storage)}: the database cannot be reached, or was lost"
    try:
        yield
    except SQLAlchemyError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ExperimentError(f"{problem} ({lines[0]}); finished trials are kept") from error
    except Exception as error:
        if type(error).__name__ != "StorageInternalError":  # Optuna's
            raise
        raise ExperimentError(f"{problem}; finished trials are kept") from error


def _redact(storage: str) -> str:
    """Return the URL without its password."""
    return re.sub(r"://([^:/@]+):[^@]*@", r"://\1:***@", storage)

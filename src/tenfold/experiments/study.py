"""The sampler and the record of a search, by Optuna.

The record is a journal in the search's folder, which Optuna's own dashboard opens, or a database
that many machines share. The results themselves are in the folders of the jobs; the journal only
repeats them, so a torn line in it, as a kill leaves behind, loses nothing.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenfold.errors import ExperimentError
from tenfold.files import write_bytes
from tenfold.formatting import format_value
from tenfold.run_folder import ExperimentFolder, write_csv

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from tenfold.experiments.halving import Trial
    from tenfold.experiments.space import Dimension, Space


logger = logging.getLogger(__name__)

SAMPLERS: Final = ("random", "tpe", "gp")
STUDY_NAME: Final = "tenfold"
N_STARTUP_TRIALS: Final = 9  # sampled at random before a sampler fits a model
MIN_TRIALS_FOR_IMPORTANCE: Final = 10  # with fewer, importances are noise
COLUMNS: Final = (
    "trial", "state", "budget_fraction", "accuracy", "n", "loss", "train_s", "reason",
)  # fmt: skip


class Study:
    """The parameters and results of all trials, in an Optuna study.

    Args:
        study: Optuna's.
        sampler: one of `SAMPLERS`.
        seed: of the sampler. Seed and trial number alone decide what is random in a trial.
    """

    def __init__(self, study: "optuna.Study", sampler: str, seed: int) -> None:
        self._study, self._sampler, self._seed = study, sampler, seed

    @classmethod
    def open(cls, journal: Path, sampler: str, seed: int) -> "Study":
        """Open the study in the file `journal`, or create it; a damaged end is cut off.

        No other process may have it open: the caller holds the folder's lock.
        """
        optuna = import_optuna()
        _repair_journal(journal)
        Path(f"{journal}.lock").unlink(missing_ok=True)  # of a process that was killed
        backend = optuna.storages.journal.JournalFileBackend(str(journal))
        storage = optuna.storages.JournalStorage(backend)
        study = optuna.create_study(
            storage=storage, study_name=STUDY_NAME, direction="maximize", load_if_exists=True
        )
        return cls(study, sampler, seed)

    def ask(self, number: int, distributions: Mapping[str, "BaseDistribution"]) -> dict[str, Any]:
        """Return the parameters of trial `number`: as sampled earlier, or sampled now.

        Trials are sampled in the order of their numbers. Optuna would record a trial parameter by
        parameter, and a kill would leave a part of it: so it is sampled in a copy of the study and
        then added whole.
        """
        optuna = import_optuna()
        trials = self._study.get_trials(deepcopy=False)
        if number < len(trials):
            return dict(trials[number].params)
        sampler = make_sampler(self._sampler, self._seed, number)
        copy = optuna.create_study(direction="maximize", sampler=sampler)
        copy.add_trials(_as_complete(trials) if self._sampler == "gp" else trials)
        params: dict[str, Any] = copy.ask(dict(distributions)).params
        self._study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING,
                params=params,
                distributions=dict(distributions),
            )
        )
        return params

    def report(self, number: int, step: int, accuracy: float) -> None:
        """Record the accuracy of trial `number` at `step` (`Rung.step`), unless it is recorded."""
        optuna = import_optuna()
        trial = self._trial(number)
        if not trial.state.is_finished() and step not in trial.intermediate_values:
            optuna.trial.Trial(self._study, trial._trial_id).report(accuracy, step)

    def tell(self, number: int, state: str, accuracy: float | None = None) -> None:
        """Finish trial `number` as "complete", "pruned" or "fail", unless it is finished."""
        states = import_optuna().trial.TrialState
        if not self._trial(number).state.is_finished():
            values = accuracy if state == "complete" else None
            self._study.tell(number, values, states[state.upper()])

    def _trial(self, number: int) -> "FrozenTrial":
        return self._study.get_trials(deepcopy=False)[number]


def _as_complete(trials: Sequence["FrozenTrial"]) -> list["FrozenTrial"]:
    """Return trials as complete, with their values at the smallest step of all.

    A Gaussian process is fitted to complete trials alone, and values must be of the same budget.
    Trials without a value stay as they are: running, or failed.
    """
    library = import_optuna().trial
    values = [trial.intermediate_values for trial in trials]
    step = min((min(by_step) for by_step in values if by_step), default=0)
    complete = [
        library.create_trial(
            params=trial.params, distributions=trial.distributions, value=by_step[step]
        )
        for trial, by_step in zip(trials, values, strict=True)
        if step in by_step
    ]
    return complete + [trial for trial, by_step in zip(trials, values, strict=True) if not by_step]


def make_sampler(name: str, seed: int, number: int) -> "BaseSampler":
    """Make the sampler of one trial, from the seed and the trial's number alone.

    Raises:
        ExperimentError: there is no such sampler.
    """
    if name not in SAMPLERS:
        raise ExperimentError(f"--sampler {name}: expected one of {', '.join(SAMPLERS)}")
    samplers = import_optuna().samplers
    trial_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls some of them experimental
        sampler: BaseSampler = {
            "random": lambda: samplers.RandomSampler(seed=trial_seed),
            "tpe": lambda: samplers.TPESampler(seed=trial_seed, n_startup_trials=N_STARTUP_TRIALS),
            # It counts only complete trials; some of the first nine may fail.
            "gp": lambda: samplers.GPSampler(
                seed=trial_seed, n_startup_trials=N_STARTUP_TRIALS // 2
            ),
        }[name]()
    return sampler


def import_optuna() -> Any:
    """Return the module optuna, which is slow to import, with its own logging at WARNING."""
    import optuna  # noqa: PLC0415 - slow to import

    optuna.logging.set_verbosity(logging.WARNING)
    return optuna


def _repair_journal(journal: Path) -> None:
    """Cut the journal at the first line that is not JSON, and keep a copy of the damaged file."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    intact = 0
    for line in content.splitlines(keepends=True):
        try:
            json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        intact += len(line)
    if intact == len(content):
        return
    copies = len(list(journal.parent.glob(f"{journal.name}.damaged*")))
    backup = journal.with_name(f"{journal.name}.damaged{copies + 1}")
    shutil.copyfile(journal, backup)
    write_bytes(journal, content[:intact])
    logger.warning(
        f"{journal}: its last {len(content) - intact:,} bytes are damaged, as a kill may leave "
        f"them; cut off, and kept in {backup.name}"
    )


def param_importances(trials: Sequence["Trial"], space: "Space") -> dict[str, float] | None:
    """Return the importance of each parameter on the first rung, largest first; sums to 1.

    Functional analysis of variance over a random forest (Hutter, Hoos and Leyton-Brown, 'An
    efficient approach for assessing hyperparameter importance', ICML 2014), by Optuna. None if
    there are fewer than `MIN_TRIALS_FOR_IMPORTANCE` trials, or if all have the same accuracy.
    """
    optuna = import_optuna()
    first = [(trial.params, trial.results[0]) for trial in trials if trial.results]
    smallest = min((result.budget_fraction for _, result in first), default=1.0)
    comparable = [
        (params, result) for params, result in first if result.budget_fraction == smallest
    ]
    accuracies = {result.accuracy for _, result in comparable}
    if len(comparable) < MIN_TRIALS_FOR_IMPORTANCE or len(accuracies) < 2:
        return None
    study = optuna.create_study()
    for params, result in comparable:
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(params), distributions=space.distributions(), value=result.accuracy
            )
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    importances = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {param_name: float(value) for param_name, value in importances.items()}


def write_record(
    folder: ExperimentFolder,
    dimensions: Sequence["Dimension"],
    trials: Sequence["Trial"],
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """Write search.csv, a row for each trial, and search.json; return what the latter holds.

    Args:
        folder: of the search.
        dimensions: that were searched: their parameters are the last columns.
        trials: by number.
        fields: of search.json besides the trials.
    """
    params = [
        {each.param_name: each.decode(trial.params[each.param_name]) for each in dimensions}
        for trial in trials
    ]
    names = [each.param_name for each in dimensions]
    rows = [
        [*_csv_row(trial), *map(format_value, values.values())]
        for trial, values in zip(trials, params, strict=True)
    ]
    write_csv(folder.table, [*COLUMNS, *names], rows)
    summary = {
        **fields,
        "trials": [
            {
                "number": trial.number,
                "state": trial.state,
                "reason": trial.reason,
                "results": [vars(result) for result in trial.results],
                "params": values,
            }
            for trial, values in zip(trials, params, strict=True)
        ],
    }
    folder.write_summary(summary)
    return summary


def _csv_row(trial: "Trial") -> list[Any]:
    """Return the `COLUMNS` of a trial; accuracy, n and loss are those of its last rung."""
    last = trial.last
    scored: list[Any] = [None] * 4
    if last is not None:
        scored = [last.budget_fraction, last.accuracy, last.n, last.loss]
    return [trial.number, trial.state, *scored, trial.train_s, trial.reason]

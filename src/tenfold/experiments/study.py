"""The sampler, and the record of what it drew and what came of it, by Optuna.

The record is a journal in the search's folder, which Optuna's own dashboard opens, or a database
that many machines share. Results themselves live in the jobs' folders; the record only repeats
them, so a torn line in it, as a kill leaves behind, loses nothing.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenfold.errors import ExperimentError
from tenfold.files import write_bytes

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from tenfold.experiments.halving import Entry
    from tenfold.experiments.space import Space


SAMPLERS: Final = ("random", "tpe", "gp")
NAME: Final = "tenfold"
N_STARTUP_TRIALS: Final = 9  # first trials of a sampler that learns: it needs some to learn from


class Study:
    """What was drawn and what came of it.

    Args:
        study: Optuna's.
        sampler: one of `SAMPLERS`.
        seed: with a trial's number it decides what is drawn, whatever happened in between.
    """

    def __init__(self, study: "optuna.Study", sampler: str, seed: int) -> None:
        self._study, self._sampler, self._seed = study, sampler, seed

    @classmethod
    def open(cls, journal: Path, sampler: str, seed: int, note: Callable[[str], None]) -> "Study":
        """Open the study in the file `journal`, or begin it; `note` hears of repairs.

        Nobody else may have it open: the caller holds the folder's lock.
        """
        optuna = optuna_()
        _repair(journal, note)
        Path(f"{journal}.lock").unlink(missing_ok=True)  # of a process that was killed
        backend = optuna.storages.journal.JournalFileBackend(str(journal))
        storage = optuna.storages.JournalStorage(backend)
        study = optuna.create_study(
            storage=storage, study_name=NAME, direction="maximize", load_if_exists=True
        )
        return cls(study, sampler, seed)

    def draw(self, number: int, distributions: Mapping[str, "BaseDistribution"]) -> dict[str, Any]:
        """Return what trial `number` is to try: as it was drawn before, or drawn now.

        Trials are drawn in the order of their numbers. Optuna would write a trial down choice by
        choice, and a kill would leave a part of it: so it is drawn in a copy, and then added whole.
        """
        optuna = optuna_()
        trials = self._study.get_trials(deepcopy=False)
        if number < len(trials):
            return dict(trials[number].params)
        sampler = sampler_of(self._sampler, self._seed, number)
        copy = optuna.create_study(direction="maximize", sampler=sampler)
        copy.add_trials(_comparable(trials) if self._sampler == "gp" else trials)
        drawn: dict[str, Any] = copy.ask(dict(distributions)).params
        self._study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING,
                params=drawn,
                distributions=dict(distributions),
            )
        )
        return drawn

    def report(self, number: int, step: int, accuracy: float) -> None:
        """Keep what trial `number` reached at `step` (`Rung.step`), unless it is kept."""
        optuna = optuna_()
        trial = self._trial(number)
        if not trial.state.is_finished() and step not in trial.intermediate_values:
            optuna.trial.Trial(self._study, trial._trial_id).report(accuracy, step)

    def finish(self, number: int, state: str, accuracy: float | None = None) -> None:
        """Close trial `number` as "complete", "pruned" or "fail", unless it is closed."""
        state_of = optuna_().trial.TrialState
        if not self._trial(number).state.is_finished():
            values = accuracy if state == "complete" else None
            self._study.tell(number, values, state_of[state.upper()])

    def _trial(self, number: int) -> "FrozenTrial":
        return self._study.get_trials(deepcopy=False)[number]


def _comparable(trials: Sequence["FrozenTrial"]) -> list["FrozenTrial"]:
    """Return trials as complete, with what they reached at the smallest step of all.

    A Gaussian process learns from complete trials alone, and like must be compared with like.
    Those that have reached nothing stay as they are: running, or failed.
    """
    library = optuna_().trial
    reached = [trial.intermediate_values for trial in trials]
    step = min((min(values) for values in reached if values), default=0)
    complete = [
        library.create_trial(
            params=trial.params, distributions=trial.distributions, value=values[step]
        )
        for trial, values in zip(trials, reached, strict=True)
        if step in values
    ]
    return complete + [trial for trial, values in zip(trials, reached, strict=True) if not values]


def sampler_of(name: str, seed: int, number: int) -> "BaseSampler":
    """Make the sampler for one trial, from the seed and the trial's number alone.

    Raises:
        ExperimentError: there is no such sampler.
    """
    if name not in SAMPLERS:
        raise ExperimentError(f"--sampler {name}: expected one of {', '.join(SAMPLERS)}")
    samplers = optuna_().samplers
    mixed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls some of them experimental
        made: BaseSampler = {
            "random": lambda: samplers.RandomSampler(seed=mixed),
            "tpe": lambda: samplers.TPESampler(seed=mixed, n_startup_trials=N_STARTUP_TRIALS),
            # It counts only those that could be trained; of the first batch some may fail.
            "gp": lambda: samplers.GPSampler(seed=mixed, n_startup_trials=N_STARTUP_TRIALS // 2),
        }[name]()
    return made


def optuna_() -> Any:
    """Return Optuna, slow to import, and quiet."""
    import optuna  # noqa: PLC0415 - slow to import

    optuna.logging.set_verbosity(logging.WARNING)
    return optuna


def _repair(journal: Path, note: Callable[[str], None]) -> None:
    """Cut the journal where it stops making sense, and keep a copy of what it was."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = 0
    for line in content.splitlines(keepends=True):
        try:
            json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        whole += len(line)
    if whole == len(content):
        return
    copies = len(list(journal.parent.glob(f"{journal.name}.damaged*")))
    backup = journal.with_name(f"{journal.name}.damaged{copies + 1}")
    shutil.copyfile(journal, backup)
    write_bytes(journal, content[:whole])
    note(
        f"{journal}: its last {len(content) - whole:,} bytes are damaged, as a kill may leave "
        f"them; cut off, and kept in {backup.name}"
    )


FEWEST = 10  # trials: with fewer, what is found is noise


def importance(entries: Sequence["Entry"], space: "Space") -> dict[str, float] | None:
    """Return each place's share, largest first, by the first and cheapest rung; or None.

    Functional analysis of variance over a random forest (Hutter, Hoos and Leyton-Brown, 'An
    efficient approach for assessing hyperparameter importance', ICML 2014), by Optuna.
    """
    import optuna  # noqa: PLC0415 - slow to import

    cheapest = min((entry.reached[0].share for entry in entries if entry.reached), default=1.0)
    ran = [entry for entry in entries if entry.reached and entry.reached[0].share == cheapest]
    if len(ran) < FEWEST or len({entry.reached[0].accuracy for entry in ran}) < 2:
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for entry in ran:
        trial = optuna.trial.create_trial(
            params=dict(entry.drawn),
            distributions=space.distributions(),
            value=entry.reached[0].accuracy,
        )
        study.add_trial(trial)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {place: float(share) for place, share in found.items()}

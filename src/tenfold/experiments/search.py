"""Search for a better recipe: successive halving, then a paired test of the winner."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tenfold.data.dataset import Dataset, save_dataset
from tenfold.device import Device
from tenfold.errors import ExperimentError, RecipeError
from tenfold.experiments.halving import (
    Eta,
    Rung,
    TimeBudget,
    Trial,
    make_rungs,
    successive_halving,
)
from tenfold.experiments.space import SearchConfig
from tenfold.experiments.study import Study, param_importances, write_record
from tenfold.experiments.trial import (
    JobProgress,
    JobResult,
    PairedTest,
    RungProgress,
    add_resume_hint,
    failure_reason,
    paired_test_jobs,
    read_paired_test,
    trial_job,
)
from tenfold.files import write_text
from tenfold.formatting import pluralize
from tenfold.jobs import LOCAL, SKIPPED, Executor, Job, JobFailure, run_jobs
from tenfold.recipe import Recipe
from tenfold.report.experiment_report import write_search_page
from tenfold.run_folder import ExperimentFolder
from tenfold.training.callbacks import Callback, Status

logger = logging.getLogger(__name__)

MAX_STATUS_ROWS: Final = 8  # of finished trials
STATUS_COLUMNS: Final = ("trial", "state", "budget", "accuracy", "seconds")
NAME_SUFFIX: Final = "-searched"  # of the winning recipe's name
MAX_BASE_NAME: Final = 71  # characters before the suffix: a recipe's name may have 80


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        trials: all of them, by number.
        winner: the best of them.
        recipe: the winner's, as in best.toml.
        paired_test: winner against baseline; None if one of them was not trained again.
        no_test_reason: why there is no paired test.
    """

    trials: Sequence[Trial]
    winner: Trial
    recipe: Recipe
    paired_test: PairedTest | None
    no_test_reason: str


def search(
    labelled: Dataset,
    config: SearchConfig,
    out: Path,
    *,
    budget_s: float | None = None,
    executor: str | Executor = LOCAL,
    callback: Callback | None = None,
) -> SearchResult:
    """Search, and leave search.csv, best.toml and a report in `out`.

    Stopped or killed at any moment, the same call resumes: no finished training is repeated.

    Args:
        labelled: the images; a fifth is held out for the paired test, by the seed of `config`.
        config: what to search, and how.
        out: the folder.
        budget_s: seconds for the trials from now on; each rung starts no more jobs after an equal
            share of it. The paired test comes on top.
        executor: of the jobs, as `tenfold.jobs.run_jobs` takes it.
        callback: its hook `on_status` is called whenever something changes.

    Raises:
        ExperimentError: the folder holds another search, or no trial could be trained.
        DataError: a class has too few images to be split.
        Interrupted: Ctrl-C or SIGTERM; the same call resumes.
    """
    folder = ExperimentFolder(out, "search")
    callback = Callback() if callback is None else callback
    identity, datasets = config.identity(labelled), config.split(labelled)
    with folder.lock(), add_resume_hint(callback):
        runner = TrialRunner(config, identity, datasets, folder, executor)
        trials = LocalSearch(runner, callback).run_trials(budget_s)
        return finalize(runner, trials, callback)


class TrialRunner:
    """Runs the jobs of a search, of one process or of several that share a study.

    Attributes:
        config: of the search.
        identity: what must be equal for a search to resume.
        folder: of the search.
        brackets: the number of trials in each run of successive halving.
        input_files: the datasets, beside the jobs that read them.
    """

    def __init__(
        self,
        config: SearchConfig,
        identity: Mapping[str, Any],
        datasets: Mapping[str, Dataset],
        folder: ExperimentFolder,
        executor: str | Executor,
    ) -> None:
        self.config, self.identity, self.folder = config, identity, folder
        self._executor = executor
        earlier = folder.claim(identity) or {}
        self.brackets = config.brackets(earlier.get("brackets", []))
        self.input_files = [folder.jobs / f"{name}.safetensors" for name in datasets]
        references = map(save_dataset, datasets.values(), self.input_files)
        self._references = dict(zip(datasets, references, strict=True))

    def train(
        self,
        rung: Rung,
        trials: Sequence[Trial],
        *,
        on_change: Callable[[], None],
        may_start: Callable[[], bool] = lambda: True,
        eta: Eta | None = None,
    ) -> None:
        """Train each trial on each fold, and update it as soon as all of its folds have ended.

        Args:
            rung: how much to train.
            trials: their states, results and reasons are updated.
            on_change: is called when a state may have changed.
            may_start: is asked before each job.
            eta: counts the trainings.
        """
        owners: dict[Job, list[Trial]] = {}  # trials with equal parameters share their jobs
        for trial in trials:
            for job in self._trial_jobs(trial, rung):
                owners.setdefault(job, []).append(trial)
        folds = self.config.folds_per_trial
        self._run(list(owners), RungProgress(rung, owners, folds, on_change, eta), may_start)

    def _trial_jobs(self, trial: Trial, rung: Rung) -> list[Job]:
        assert trial.recipe is not None
        recipe, subset_fraction = rung.scale_recipe(trial.recipe)
        return [
            trial_job(
                f"trial {trial.number}",
                recipe,
                self._references["search"],
                fold=self.config.fold(index),
                subset_fraction=subset_fraction,
            )
            for index in range(self.config.folds_per_trial)
        ]

    def paired_test(self, winner: Recipe, callback: Callback) -> tuple[PairedTest | None, str]:
        """Train winner and baseline again; return the test, or None and the reason."""
        seeds = self.config.seeds
        if not seeds:
            return None, "the paired test was skipped"
        logger.info("training winner and baseline again, each on %s", pluralize(seeds, "seed"))
        jobs_of = paired_test_jobs(
            {"baseline": self.config.space.baseline, "winner": winner},
            seeds,
            self._references["search"],
            self._references["test"],
        )
        jobs = [job for which in jobs_of.values() for job in which]
        results = self._run(jobs, _PairedTestProgress(len(jobs), callback))
        for job, result in zip(jobs, results, strict=True):
            if (failure := failure_reason(result)) is not None:
                reason = f"{job.name} cannot be trained on all images: {failure}"
                logger.warning(reason)
                return None, reason
        return read_paired_test(jobs_of, self.folder.jobs), ""

    def _run(
        self,
        jobs: Sequence[Job],
        progress: JobProgress,
        may_start: Callable[[], bool] = lambda: True,
    ) -> list[Any]:
        return run_jobs(
            jobs,
            self.folder.jobs,
            executor=self._executor,
            input_files=self.input_files,
            callback=progress,
            workers=Device.detect().workers,
            cores_per_job=1,  # the same arithmetic on few cores, on many, and on a cluster
            keep_going=True,
            may_start=may_start,
        )

    def remove_input_files(self) -> None:
        """Remove the datasets, once nothing reads them any more."""
        for path in self.input_files:
            path.unlink(missing_ok=True)


class _PairedTestProgress(JobProgress):
    """Logs the accuracy of each training of the paired test."""

    def __init__(self, jobs: int, callback: Callback) -> None:
        super().__init__()
        self._jobs, self._callback = jobs, callback

    def on_result(self, job: Job, result: JobResult) -> None:
        """Log the accuracy; failures are reported once all trainings have ended."""
        if not isinstance(result, JobFailure) and "correct" in result:
            accuracy = result["correct"] / result["n"]
            logger.info("%s: %.4f on the test images", job.name, accuracy)

    def on_change(self) -> None:
        """Show how many trainings have ended."""
        line = f"paired test: {self.ended} of {self._jobs} trainings done"
        self._callback.on_status(Status(line, ("paired test",), [(line,)]))


class LocalSearch:
    """A search of one process: it samples all trials and waits for each rung to end."""

    def __init__(self, runner: TrialRunner, callback: Callback) -> None:
        config = runner.config
        self._runner, self._callback = runner, callback
        self._study = Study.open(runner.folder.study, config.sampler, config.seed)
        self._eta = Eta(runner.brackets, config.folds_per_trial)
        self._trials: list[Trial] = []

    def run_trials(self, budget_s: float | None) -> list[Trial]:
        """Sample and train all trials, bracket by bracket, and return them."""
        config, brackets = self._runner.config, self._runner.brackets
        names = ", ".join(each.param_name for each in config.space.dimensions)
        count = pluralize(sum(brackets), "trial")
        logger.info("%s by %s search over %s", count, config.sampler, names)
        budget = TimeBudget(budget_s, sum(len(make_rungs(size)) for size in brackets))
        for size in brackets:
            first = len(self._trials)
            trials = [self._sample(number) for number in range(first, first + size)]
            self._trials += trials
            _write(self._runner, self._trials)
            rungs = make_rungs(size)
            successive_halving(trials, rungs, self._trainer(len(rungs), budget), self._finish)
        return self._trials

    def _sample(self, number: int) -> Trial:
        space = self._runner.config.space
        params = self._study.ask(number, space.distributions())
        try:
            return Trial(number, params, space.recipe(params))
        except RecipeError as error:
            self._study.tell(number, "fail")
            reason = "; ".join(error.problems)
            return Trial(number, params, None, state="failed", reason=reason)

    def _trainer(
        self, rungs: int, budget: TimeBudget
    ) -> Callable[[Rung, int, Sequence[Trial]], None]:
        def train(rung: Rung, index: int, trials: Sequence[Trial]) -> None:
            logger.info(
                f"rung {index + 1} of {rungs}: {pluralize(len(trials), 'trial')}, "
                f"{rung.budget_fraction:.0%} of a full training each"
            )
            self._runner.train(
                rung, trials, on_change=self._show, may_start=budget.next_rung(), eta=self._eta
            )
            for trial in trials:
                if trial.last is not None and len(trial.results) > index:
                    self._study.report(trial.number, rung.step, trial.last.accuracy)
            _write(self._runner, self._trials)

        return train

    def _finish(self, trial: Trial) -> None:
        states = {"complete": "complete", "pruned": "pruned", "failed": "fail"}
        accuracy = None if trial.last is None else trial.last.accuracy
        self._study.tell(trial.number, states[trial.state], accuracy)

    def _show(self) -> None:
        """Show the best trials and those that run."""
        ranked = sorted((trial for trial in self._trials if trial.results), key=Trial.sort_key)
        running = [trial for trial in self._trials if trial.state == "running"]
        pruned = sum(trial.state == "pruned" for trial in self._trials)
        line = f"{len(running)} running, {pruned} pruned, {self._eta.format()}"
        if ranked:
            line = f"best {ranked[0].results[-1].accuracy:.4f} (trial {ranked[0].number}), {line}"
        best = ranked[:MAX_STATUS_ROWS]
        rows = [
            (
                str(trial.number),
                trial.state,
                f"{trial.last.budget_fraction:.0%}" if trial.last else "",
                f"{trial.last.accuracy:.4f}" if trial.last else "",
                f"{trial.train_s:.0f}",
            )
            for trial in [*best, *(trial for trial in running if trial not in best)]
        ]
        self._callback.on_status(Status(line, STATUS_COLUMNS, rows))


def finalize(runner: TrialRunner, trials: Sequence[Trial], callback: Callback) -> SearchResult:
    """Test the winner against the baseline, and write recipe, table and report.

    Raises:
        ExperimentError: no trial could be trained.
    """
    config, folder = runner.config, runner.folder
    trained = [trial for trial in trials if trial.state != "failed" and trial.results]
    winner = min(trained, key=Trial.sort_key, default=None)
    if winner is None or winner.recipe is None:
        reasons = [trial.reason for trial in trials if trial.reason] or [SKIPPED.reason]
        raise ExperimentError(f"no trial could be trained: {reasons[0]}")
    _write(runner, trials)
    untested = _best_recipe(config, winner, winner.recipe, len(trials), None)
    write_text(folder.best, untested.to_toml())
    paired_test, no_test_reason = runner.paired_test(winner.recipe, callback)
    recipe = _best_recipe(config, winner, winner.recipe, len(trials), paired_test)
    write_text(folder.best, recipe.to_toml())
    result = SearchResult(trials, winner, recipe, paired_test, no_test_reason)
    write_search_page(_write(runner, trials, result), folder.report, folder.figures)
    runner.remove_input_files()
    return result


def _best_recipe(
    config: SearchConfig,
    winner: Trial,
    recipe: Recipe,
    trials: int,
    paired_test: PairedTest | None,
) -> Recipe:
    """Return the winner's recipe with a name, a description and the result of the test."""
    baseline = config.space.baseline
    metadata = {
        "name": f"{baseline.name.removesuffix(NAME_SUFFIX)[:MAX_BASE_NAME]}{NAME_SUFFIX}",
        "description": (
            f"Trial {winner.number}, the best of {trials} by {config.sampler} search "
            f"from {baseline.name} (seed {config.seed})."
        ),
        "benchmark": "" if paired_test is None else paired_test.summary(),
    }
    return recipe.model_copy(update=metadata)


def _write(
    runner: TrialRunner, trials: Sequence[Trial], result: SearchResult | None = None
) -> dict[str, Any]:
    """Write search.csv and search.json, and return what the latter holds."""
    space = runner.config.space
    outcome: dict[str, Any] = {}
    if result is not None:
        test = result.paired_test
        outcome = {
            "winner": result.winner.number,
            "paired_test": None if test is None else test.to_json(),
            "no_test_reason": result.no_test_reason,
            "importance": param_importances(trials, space),
        }
    baseline = {"baseline": space.baseline.name, "brackets": runner.brackets}
    fields = {"identity": runner.identity, **baseline, **outcome}
    return write_record(runner.folder, space.dimensions, trials, fields)

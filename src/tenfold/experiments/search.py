"""Searching for a better recipe: draw, race, and train the winner again before believing it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.data.dataset import Dataset, save_dataset
from tenfold.device import Device
from tenfold.errors import ExperimentError, RecipeError
from tenfold.experiments.halving import Budget, Entry, Eta, Rung, RungResult, race, rungs
from tenfold.experiments.space import FOLDS, Dimension, SearchConfig, values_of
from tenfold.experiments.study import Study, importance
from tenfold.experiments.trial import (
    PairedTest,
    failure_reason,
    paired_test_jobs,
    read_paired_test,
    tolerable_failure,
    trial_job,
)
from tenfold.files import write_json, write_text
from tenfold.formatting import format_value, pluralize
from tenfold.jobs import LOCAL, SKIPPED, Executor, Job, JobCallback, JobFailure, run_jobs
from tenfold.recipe import Recipe
from tenfold.report.experiment_report import write_search_page
from tenfold.run_folder import ExperimentFolder, write_csv
from tenfold.training.console import NullDisplay, Standing, StatusDisplay, add_resume_hint

BEST_SHOWN = 8
SEARCHED = "-searched"  # behind the name of the recipe that it began with
LONGEST_NAME = 71  # a recipe's may have 80 letters


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        entries: all trials, by number.
        winner: the best of them.
        recipe: the winner's, as best.toml has it.
        verdict: None if winner and start were not trained again, or one of them could not be.
        doubt: why there is no verdict.
    """

    entries: Sequence[Entry]
    winner: Entry
    recipe: Recipe
    verdict: PairedTest | None
    doubt: str


def search(
    labelled: Dataset,
    plan: SearchConfig,
    out: Path,
    *,
    budget_s: float | None = None,
    executor: str | Executor = LOCAL,
    board: StatusDisplay | None = None,
) -> SearchResult:
    """Search, and leave search.csv, best.toml and all that the page is drawn from in `out`.

    Stopped or killed at any moment, the same call goes on: nothing finished is repeated.

    Args:
        labelled: the images; a fifth is set aside for the verdict, by the plan's seed.
        plan: what to search.
        out: the folder.
        budget_s: seconds for the trials from now on; each rung may take an equal share, then it
            begins no more. The verdict comes on top.
        executor: where jobs run: "local", "ray" or "ray://host:port".
        board: is told how it goes.

    Raises:
        ExperimentError: the folder holds another search, or no trial could be trained.
        DataError: a class has too few images to be divided.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    folder = ExperimentFolder(out, "search")
    board = NullDisplay() if board is None else board
    identity, parts = plan.identity(labelled), plan.parts(labelled)
    with folder.alone(), add_resume_hint(board):
        return Search(identity, parts, plan, folder, executor=executor, board=board).run(budget_s)


class Search:
    """One search at work; `search` is the way in."""

    def __init__(
        self,
        identity: dict[str, Any],
        parts: Mapping[str, Dataset],
        plan: SearchConfig,
        folder: ExperimentFolder,
        *,
        executor: str | Executor,
        board: StatusDisplay,
    ) -> None:
        self.plan, self.folder, self.executor, self.board = plan, folder, executor, board
        self.identity = identity
        before = folder.claim(self.identity) or {}
        self.batches = plan.batches(before.get("batches", []))
        self.input_files = [folder.jobs / f"{name}.safetensors" for name in parts]
        laid = map(save_dataset, parts.values(), self.input_files)
        self.references = dict(zip(parts, laid, strict=True))
        self.entries: list[Entry] = []
        self.pace = Eta(self.batches, plan.folds or 1)

    def run(self, budget_s: float | None) -> SearchResult:
        """Try, judge, tell."""
        places = ", ".join(each.place for each in self.plan.space.dimensions)
        trials = pluralize(sum(self.batches), "trial")
        self.board.note(f"{trials} by {self.plan.sampler} search over {places}")
        self.try_all(budget_s)
        return self.conclude()

    def try_all(self, budget_s: float | None) -> None:
        """Draw all trials and let them race, in one batch or in several."""
        plan = self.plan
        study = Study.open(self.folder.study, plan.sampler, plan.seed, self.board.note)
        stages = sum(len(rungs(size)) for size in self.batches)
        budget = Budget(budget_s, stages)
        for size in self.batches:
            entries = [self._draw(study, len(self.entries) + at) for at in range(size)]
            self.entries += entries
            self.write(None)
            steps = rungs(size)
            race(entries, steps, self._runner(study, len(steps), budget), _closer(study))

    def conclude(self) -> SearchResult:
        """Train the winner again, and leave recipe, table and page.

        Raises:
            ExperimentError: no trial could be trained.
        """
        sound = [entry for entry in self.entries if entry.state != "failed" and entry.reached]
        winner = min(sound, key=Entry.rank, default=None)
        if winner is None or winner.recipe is None:
            reasons = [entry.reason for entry in self.entries if entry.reason]
            why = reasons[0] if reasons else SKIPPED.reason
            raise ExperimentError(f"no trial could be trained: {why}")
        self.write(None)
        write_text(self.folder.best, self._best(winner, None).to_toml())
        verdict, doubt = self._verdict(winner.recipe)
        found = SearchResult(self.entries, winner, self._best(winner, verdict), verdict, doubt)
        write_text(self.folder.best, found.recipe.to_toml())
        self.write(found)
        told = self.folder.read()
        assert told is not None
        write_search_page(told, self.folder.report, self.folder.figures)
        for path in self.input_files:
            path.unlink(missing_ok=True)
        return found

    def _draw(self, study: Study, number: int) -> Entry:
        drawn = study.draw(number, self.plan.space.distributions())
        try:
            return Entry(number, drawn, self.plan.space.recipe(drawn))
        except RecipeError as error:
            study.finish(number, "fail")
            reason = "; ".join(error.problems)
            return Entry(number, drawn, None, state="failed", reason=reason)

    def _runner(
        self, study: Study, steps: int, budget: Budget
    ) -> Callable[[Rung, int, Sequence[Entry]], None]:
        def run(rung: Rung, index: int, alive: Sequence[Entry]) -> None:
            which, many = f"rung {index + 1} of {steps}", pluralize(len(alive), "trial")
            self.board.note(f"{which}: {many}, {rung.share:.0%} of a whole training each")
            self.train(rung, alive, budget.next_stage())
            for entry in alive:
                if len(entry.reached) > index:
                    study.report(entry.number, rung.step, entry.reached[-1].accuracy)
            self.write(None)

        return run

    def train(self, rung: Rung, alive: Sequence[Entry], may_start: Callable[[], bool]) -> None:
        """Train each trial on each fold, and fill in what it reached as soon as it has all."""
        jobs: dict[Job, list[Entry]] = {}  # trials that drew the same share their jobs
        for entry in alive:
            for job in self._jobs(entry, rung):
                jobs.setdefault(job, []).append(entry)
        run_jobs(
            list(jobs),
            self.folder.jobs,
            executor=self.executor,
            input_files=self.input_files,
            callback=_TrialProgress(self, jobs, rung),
            workers=Device.detect().workers,
            cores_per_job=1,  # the same arithmetic on few cores, on many, and on a cluster
            keep_going=True,
            may_start=may_start,
        )

    def _jobs(self, entry: Entry, rung: Rung) -> list[Job]:
        assert entry.recipe is not None
        recipe, part = rung.cut(entry.recipe)
        return [
            trial_job(
                f"trial {entry.number}",
                recipe,
                self.references["search"],
                fold={"index": index, "folds": self.plan.folds or FOLDS, "seed": self.plan.seed},
                part=part,
            )
            for index in range(self.plan.folds or 1)
        ]

    def fill_in(self, entry: Entry, results: Sequence[Any], rung: Rung) -> None:
        """Take the results of all folds of a trial."""
        if SKIPPED in results:
            entry.state = "out of time" if entry.reached else "not begun"
        elif reasons := [why for why in map(failure_reason, results) if why is not None]:
            entry.state, entry.reason = "failed", reasons[0]
            self.board.note(f"trial {entry.number} failed: {reasons[0]}")
        else:
            entry.reached.append(RungResult.over(results, rung.share))
            entry.state = "waiting"

    def _verdict(self, winner: Recipe) -> tuple[PairedTest | None, str]:
        """Train winner and start again; return how they compare, or why that is not known."""
        seeds, start = self.plan.seeds, self.plan.space.start
        if not seeds:
            return None, "neither was trained again"
        self.board.note(f"training winner and start again, each on {pluralize(seeds, 'seed')}")
        jobs = paired_test_jobs(
            {"start": start, "winner": winner},
            seeds,
            self.references["search"],
            self.references["final"],
        )
        every = [job for theirs in jobs.values() for job in theirs]
        results = run_jobs(
            every,
            self.folder.jobs,
            executor=self.executor,
            input_files=self.input_files,
            callback=_VerdictProgress(self.board, len(every)),
            workers=Device.detect().workers,
            cores_per_job=1,
            keep_going=True,
        )
        for job, result in zip(every, results, strict=True):
            if (why := failure_reason(result)) is not None:
                doubt = f"{job.name} cannot be trained on all images: {why}"
                self.board.note(doubt)
                return None, doubt
        return read_paired_test(jobs, self.folder.jobs), ""

    def _best(self, winner: Entry, verdict: PairedTest | None) -> Recipe:
        assert winner.recipe is not None
        plan, start = self.plan, self.plan.space.start
        about = {
            "name": f"{start.name.removesuffix(SEARCHED)[:LONGEST_NAME]}{SEARCHED}",
            "description": (
                f"Trial {winner.number}, the best of {len(self.entries)} by {plan.sampler} search "
                f"from {start.name} (seed {plan.seed})."
            ),
            "measured": "" if verdict is None else verdict.sentence(),
        }
        return winner.recipe.model_copy(update=about)

    # Telling

    def show(self) -> None:
        """Show how the trials stand."""
        ran = sorted((entry for entry in self.entries if entry.reached), key=Entry.rank)
        running = [entry for entry in self.entries if entry.state == "running"]
        stopped = sum(entry.state == "stopped early" for entry in self.entries)
        best = f"best {ran[0].reached[-1].accuracy:.4f} (trial {ran[0].number}), " if ran else ""
        line = f"{best}{len(running)} running, {stopped} stopped early, {self.pace.left()}"
        shown = [*ran[:BEST_SHOWN], *(entry for entry in running if entry not in ran[:BEST_SHOWN])]
        rows = [
            (
                str(entry.number),
                entry.state,
                f"{entry.reached[-1].share:.0%}" if entry.reached else "",
                f"{entry.reached[-1].accuracy:.4f}" if entry.reached else "",
                f"{sum(each.train_s for each in entry.reached):.0f}",
            )
            for entry in shown
        ]
        self.board.show(Standing(line, ("trial", "state", "share", "accuracy", "seconds"), rows))

    def write(self, found: SearchResult | None) -> None:
        """Write the table, and all that the page is drawn from."""
        outcome: dict[str, Any] = {}
        if found is not None:
            outcome = {
                "winner": found.winner.number,
                "verdict": None if found.verdict is None else found.verdict.to_json(),
                "doubt": found.doubt,
                "importance": importance(self.entries, self.plan.space),
            }
        start = {"start": self.plan.space.start.name, "batches": self.batches}
        about = {"identity": self.identity, **start, **outcome}
        write_search_files(self.folder, self.plan.space.dimensions, self.entries, about)


class _TrialProgress(JobCallback):
    """Fills in the entries of a rung as their jobs end."""

    def __init__(self, search: Search, jobs: Mapping[Job, Sequence[Entry]], rung: Rung) -> None:
        self._search, self._jobs, self._rung = search, jobs, rung
        self._begun: set[Job] = set()
        self._results: dict[int, list[Any]] = {}

    def on_job_progress(self, job: Job, progress: Mapping[str, Any]) -> None:
        self._begun.add(job)
        for entry in self._jobs[job]:
            entry.state = "running"
        self._search.show()

    def on_job_end(self, job: Job, result: Any) -> None:
        pace, share = self._search.pace, self._rung.share
        (pace.did if job in self._begun else pace.skipped)(share)
        for entry in self._jobs[job]:
            results = self._results.setdefault(entry.number, [])
            results.append(result)
            if len(results) == (self._search.plan.folds or 1):
                self._search.fill_in(entry, results, self._rung)
        self._search.show()

    def on_job_failure(self, job: Job, failure: JobFailure) -> None:
        self.on_job_end(job, tolerable_failure(job, failure))


class _VerdictProgress(JobCallback):
    """Tells how winner and start do that are trained again."""

    def __init__(self, board: StatusDisplay, count: int) -> None:
        self._board, self._count, self._done = board, count, 0

    def on_job_progress(self, job: Job, progress: Mapping[str, Any]) -> None:
        line = f"{self._done} of {self._count} trained again, {job.name} is at it"
        self._board.show(Standing(line, ("training again",), [(line,)]))

    def on_job_end(self, job: Job, result: Any) -> None:
        if "correct" in result:
            self._done += 1
            share = result["correct"] / result["n"]
            self._board.note(f"{job.name}: {share:.4f} on the images set aside")

    def on_job_failure(self, job: Job, failure: JobFailure) -> None:
        tolerable_failure(job, failure)


def _closer(study: Study) -> Callable[[Entry], None]:
    states = {"complete": "complete", "stopped early": "pruned", "failed": "fail"}

    def close(entry: Entry) -> None:
        accuracy = entry.reached[-1].accuracy if entry.reached else None
        study.finish(entry.number, states[entry.state], accuracy)

    return close


COLUMNS = ("trial", "state", "share", "accuracy", "n", "loss", "train_s", "reason")


def write_search_files(
    folder: ExperimentFolder,
    dimensions: Sequence[Dimension],
    entries: Sequence[Entry],
    about: Mapping[str, Any],
) -> None:
    """Write search.csv, a row for each trial, and search.json, the same with `about`."""
    places = [each.place for each in dimensions]
    rows = [
        [*_facts(entry), *map(format_value, values_of(entry.drawn, dimensions).values())]
        for entry in entries
    ]
    write_csv(folder.table, [*COLUMNS, *places], rows)
    write_json(
        folder.settings, {**about, "trials": [_told(entry, dimensions) for entry in entries]}
    )


def _facts(entry: Entry) -> list[Any]:
    """Return what `COLUMNS` name; share, accuracy, images and loss are those of the last rung."""
    last = entry.reached[-1] if entry.reached else None
    scored = [None] * 4 if last is None else [last.share, last.accuracy, last.n, last.loss]
    train_s = sum(each.train_s for each in entry.reached)
    return [entry.number, entry.state, *scored, train_s, entry.reason]


def _told(entry: Entry, dimensions: Sequence[Dimension]) -> dict[str, Any]:
    return {
        "number": entry.number,
        "state": entry.state,
        "reason": entry.reason,
        "reached": [vars(each) for each in entry.reached],
        "values": values_of(entry.drawn, dimensions),
    }

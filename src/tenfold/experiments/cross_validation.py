"""One method fitted on one fold, timed on one core, and judged on the images held out: a job."""

import heapq
import pickle
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.dataset import Dataset
from tenfold.errors import DataError, Interrupted, JobError, OutputError, RecipeError, TenfoldError
from tenfold.experiments.baselines import Method, features, make, module_of, source_of
from tenfold.experiments.trial import load_split, subsample
from tenfold.files import load_arrays, save_arrays
from tenfold.jobs import Emit, Job
from tenfold.metrics import Score
from tenfold.recipe import Recipe
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import JobReporter
from tenfold.training.train import divide, fit_single

FIT = "tenfold.experiments.cross_validation:fit_and_predict"
PROBE = "tenfold.experiments.cross_validation:probe"
ANSWERS, FORMAT = "answers.safetensors", "tenfold-answers-of-a-fold-1"
PROBED = (1000, 2000, 4000)  # images that a method is fitted on to tell what more will take
PROBE_JUDGED = 500


def fit_job(
    method: Method,
    learn: Mapping[str, str],
    fold: Mapping[str, int],
    *,
    part: float = 1.0,
) -> Job:
    """Describe one fit: `part` of the images outside a fold to learn from, the fold to judge by.

    `learn` and `fold` are those of `tenfold.experiments.trial.trial_job`.
    """
    description = {"learn": dict(learn), "judge": None, "fold": dict(fold), "part": part}
    name = f"{method.name}, fold {fold['index'] + 1}/{fold['folds']}"
    return Job(FIT, {"method": method.to_json(), **description}, name)


def probe_job(method: Method, learn: Mapping[str, str], fold: Mapping[str, int]) -> Job:
    """Describe small fits of the same method, to tell what the whole will take."""
    description = {"learn": dict(learn), "judge": None, "fold": dict(fold)}
    return Job(PROBE, {"method": method.to_json(), **description}, f"{method.name}, small fits")


def fit_and_predict(description: Mapping[str, Any], folder: Path, emit: Emit) -> dict[str, Any]:
    """Do the job that `fit_job` described; the answers stay in its folder.

    Returns:
        "correct" and "n" on the fold, "images" learned from, "fit_s" and "predict_s" with the
        making of features, "bytes" of what was learned, "peak_bytes" of the process, libraries and
        images included; or "failed" with a sentence.
    """
    learn, judge = load_split(description, folder.parent)
    try:
        learn = subsample(learn, description["part"], description["fold"]["seed"])
        found, answers = _fit(description["method"], learn, judge, folder, emit)
    except Exception as error:  # any estimator may be brought, and fail in its own way
        return {"failed": _fault_of_method(error)}
    save_arrays(folder / ANSWERS, {"answers": answers}, FORMAT, {})
    RunFolder(folder).checkpoint.unlink(missing_ok=True)  # nobody goes on from here
    correct = int((answers == judge.require_labels()).sum())
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    about = {"correct": correct, "n": len(judge), "images": len(learn), "peak_bytes": peak}
    return {**found, **about}


def read_answers(folder: Path) -> NDArray[np.int64]:
    """Return what `fit_and_predict` answered, int64 [N], in the order of its fold's rows."""
    tensors, _ = load_arrays(folder / ANSWERS, FORMAT)
    answers: NDArray[np.int64] = tensors["answers"]
    return answers


def probe(description: Mapping[str, Any], folder: Path, emit: Emit) -> dict[str, Any]:
    """Do the job that `probe_job` described.

    Returns:
        "fits": "images", "fit_s", and "predict_s" for one image, of each size that there are
        images for; for a recipe of one size and one epoch. Or "failed" with a sentence.
    """
    learn, judge = load_split(description, folder.parent)
    judge = judge.select(np.arange(min(PROBE_JUDGED, len(judge))))
    sizes = [size for size in PROBED if size <= len(learn)] or [len(learn)]
    method = dict(description["method"])
    if method["recipe"] is not None:
        sizes = sizes[-1:]
        method["recipe"] = _one_epoch(method["recipe"])
    fits = []
    for size in sizes:
        some = _small(learn, size, description["fold"]["seed"], method["recipe"])
        try:
            found, _ = _fit(method, some, judge, folder / f"small-{size}", emit)
            RunFolder(folder / f"small-{size}").checkpoint.unlink(missing_ok=True)
        except Exception as error:  # as above
            return {"failed": _fault_of_method(error)}
        each_s = found["predict_s"] / len(judge)
        fits.append({"images": len(some), "fit_s": found["fit_s"], "predict_s": each_s})
    return {"fits": fits}


def _small(learn: Dataset, size: int, seed: int, recipe: Mapping[str, Any] | None) -> Dataset:
    """Return about so many of the images, to see how long they take.

    Where a class is too rare for a part with all classes, an estimator gets any, a network all.
    """
    try:
        some = subsample(learn, size / len(learn), seed)
        if recipe is not None:
            divide(some, Recipe.model_validate(recipe))
    except DataError:
        if recipe is not None:
            return learn
        drawn = np.random.default_rng(seed).permutation(len(learn))[:size]
        return learn.select(np.sort(drawn))
    return some


def _fault_of_method(error: Exception) -> str:
    """Say in a sentence why a method failed; what is not its fault is raised again."""
    if isinstance(error, Interrupted | OutputError | JobError):
        raise error  # stopped, a full disk, another file
    if isinstance(error, RecipeError):
        return "; ".join(error.problems)
    if isinstance(error, TenfoldError):
        return str(error)
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _fit(
    method: Mapping[str, Any], learn: Dataset, judge: Dataset, folder: Path, emit: Emit
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """Fit, answer, and say how long it took and how large the result is."""
    if method["recipe"] is not None:
        return _fit_network(Recipe.model_validate(method["recipe"]), learn, judge, folder, emit)
    if "source" in method and source_of(method["estimator"]) != method["source"]:
        raise JobError(f"{method['estimator']}: its file changed meanwhile, run it again")
    module_of(method["estimator"])  # what is imported now is not counted as fitting
    estimator = _seeded(make(method["estimator"]))
    started = time.perf_counter()
    estimator.fit(features(learn.images, method["features"]), learn.require_labels())
    fitted = time.perf_counter()
    answers = np.asarray(estimator.predict(features(judge.images, method["features"])))
    predicted = time.perf_counter()
    if answers.shape != (len(judge),):
        raise TenfoldError(f"predict gave {list(answers.shape)} answers for {len(judge)} images")
    found = {
        "fit_s": fitted - started,
        "predict_s": predicted - fitted,
        "bytes": len(pickle.dumps(estimator)),  # counted; nothing is kept or read as pickle
    }
    return found, answers.astype(np.int64)


def _fit_network(
    recipe: Recipe, learn: Dataset, judge: Dataset, folder: Path, emit: Emit
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    run = RunFolder(folder)
    learned = fit_single(learn, recipe, run, listener=JobReporter(emit))
    started = time.perf_counter()
    answers: NDArray[np.int64] = learned.recognizer.predict_proba(judge).argmax(axis=1)
    predict_s = time.perf_counter() - started
    size = run.recognizer.stat().st_size
    return {"fit_s": learned.train_s, "predict_s": predict_s, "bytes": size}, answers


def _one_epoch(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {**recipe, "training": {**recipe["training"], "max_epochs": 1}}


def _seeded(estimator: Any) -> Any:
    """Fix every random state that the estimator has, inside pipelines too."""
    if hasattr(estimator, "get_params"):
        states = [name for name in estimator.get_params() if name.endswith("random_state")]
        estimator.set_params(**dict.fromkeys(states, 0))
    return estimator


FIT_POWERS = (0.5, 2.2)  # what p may be: small fits are noisy
PREDICT_POWERS = (0.0, 1.0)
# A recipe that stops early takes fewer epochs than it may; half is a guess, and told as one.
EARLY = 0.5
START_S = 4.0  # of a process: Python, its libraries, and the images


@dataclass(frozen=True)
class Cost:
    """What one fit of a method takes on one core.

    Attributes:
        images: of the largest small fit.
        fit_s: of it, times all epochs for a network.
        fit_power: how that grows with images.
        predict_s: for one image after it.
        predict_power: how that grows with the images learned.
    """

    images: int
    fit_s: float
    fit_power: float
    predict_s: float
    predict_power: float

    @classmethod
    def of(cls, method: Method, fits: Sequence[Mapping[str, Any]]) -> "Cost":
        """Read it off the small fits, smallest first."""
        last = fits[-1]
        if method.recipe is not None:
            training = method.recipe.training
            epochs = training.max_epochs * (EARLY if training.patience_epochs else 1)
            return cls(last["images"], last["fit_s"] * epochs, 1.0, last["predict_s"], 0.0)
        return cls(
            last["images"],
            last["fit_s"],
            _power(fits, "fit_s", *FIT_POWERS),
            last["predict_s"],
            _power(fits, "predict_s", *PREDICT_POWERS),
        )

    def seconds(self, learned: float, judged: int) -> float:
        """Return what learning from so many images and judging so many takes."""
        times = learned / self.images
        fit_s = self.fit_s * times**self.fit_power
        predict_s = self.predict_s * times**self.predict_power * judged
        return float(START_S + fit_s + predict_s)

    def affordable(self, seconds: float, learned: int, judged: int) -> float:
        """Return the share of the images, up to 1, that can be learned from in so many seconds."""
        low, high = 0.0, 1.0
        if self.seconds(learned, judged) <= seconds:
            return 1.0
        for _ in range(30):
            middle = (low + high) / 2
            if self.seconds(middle * learned, judged) <= seconds:
                low = middle
            else:
                high = middle
        return low


def _power(fits: Sequence[Mapping[str, Any]], what: str, lowest: float, highest: float) -> float:
    """Return p of the two largest fits, within bounds; 1 within them if there is but one."""
    if len(fits) < 2:
        return min(max(1.0, lowest), highest)
    one, two = fits[-2:]
    grown = log(max(two[what], 1e-6) / max(one[what], 1e-6))
    return min(max(grown / log(two["images"] / one["images"]), lowest), highest)


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return how long jobs of so many seconds take, each given in turn to the first free worker."""
    free = [0.0] * workers
    heapq.heapify(free)
    for each in seconds:
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)


COLUMNS = (
    "method", "accuracy", "low", "high", "correct", "n", "images_learned", "fit_s",
    "predict_s_per_1000", "bytes", "peak_bytes", "reason",
)  # fmt: skip


@dataclass
class Entry:
    """One method: what it was expected to take, and what came of it.

    Attributes:
        method: which.
        cost: None if the small fits failed.
        part: of the images that it may learn from, to stay within the budget.
        results: of each fold, as `fit_and_predict` returned them.
        reason: why it failed.
    """

    method: Method
    cost: Cost | None = None
    part: float = 1.0
    results: list[Mapping[str, Any]] = field(default_factory=list)
    reason: str = ""

    @property
    def score(self) -> Score | None:
        """Over the folds that are done; None before the first, or if the method failed."""
        if self.reason or not self.results:
            return None
        correct = sum(result["correct"] for result in self.results)
        return Score(correct, sum(result["n"] for result in self.results))

    def mean(self, name: str) -> float:
        """Return the mean over folds of something measured."""
        return float(sum(result[name] for result in self.results) / len(self.results))

    @property
    def fit_s(self) -> float:
        """Seconds of one fit."""
        return self.mean("fit_s")

    @property
    def predict_s_per_1000(self) -> float:
        """Seconds for a thousand answers."""
        return 1000 * self.mean("predict_s") / self.mean("n")

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; of a failed method its name and why."""
        if self.score is None:
            return {"method": self.method.name, "reason": self.reason or "not finished"}
        return {
            "method": self.method.name,
            **self.score.to_json(),
            "images_learned": round(self.mean("images")),
            "part": self.part,
            "fit_s": self.fit_s,
            "predict_s_per_1000": self.predict_s_per_1000,
            "bytes": round(self.mean("bytes")),
            "peak_bytes": max(result["peak_bytes"] for result in self.results),
        }


def row_of(told: Mapping[str, Any]) -> list[Any]:
    """Return what `COLUMNS` name of an entry's JSON; None where there is nothing to tell."""
    low, high = told.get("interval", (None, None))
    return [{**told, "low": low, "high": high}.get(column) for column in COLUMNS]


def rank(entry: Entry) -> tuple[float, float]:
    """Sort by this: best first, those without a score last."""
    if entry.score is None:
        return (1.0, 0.0)
    return (0.0, -entry.score.accuracy)

"""One method fitted on one fold, timed on one core, and evaluated on the held-out images: a job."""

import heapq
import pickle
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.artifact import load_artifact
from tenfold.data.dataset import Dataset
from tenfold.data.splits import train_valid_rows
from tenfold.errors import DataError, Interrupted, JobError, OutputError, RecipeError, TenfoldError
from tenfold.experiments.baselines import (
    Method,
    extract_features,
    fix_random_state,
    import_module_of,
    make_estimator,
    source_checksum,
)
from tenfold.experiments.trial import load_split, subsample
from tenfold.files import save_arrays
from tenfold.jobs import Emit, Job
from tenfold.metrics import Score
from tenfold.recipe import Recipe
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import JobReporter
from tenfold.training.loop import fit_single

FIT_TASK = "tenfold.experiments.cross_validation:fit_and_predict"
ESTIMATE_TASK = "tenfold.experiments.cross_validation:estimate_time"
PREDICTIONS, FORMAT = "fold-predictions.safetensors", "tenfold-fold-predictions-2"

ESTIMATE_SIZES = (1000, 2000, 4000)  # training images of the fits that the estimates come from
ESTIMATE_EVAL_IMAGES = 500
FIT_EXPONENTS = (0.5, 2.2)  # bounds: the times of small fits are noisy
PREDICT_EXPONENTS = (0.0, 1.0)
EARLY_STOPPING_FRACTION = 0.5  # of the maximal epochs where training may stop early: a guess
PROCESS_START_S = 4.0  # Python, its libraries, and the images
MIN_TRAIN_IMAGES = 500  # for every method, however small the budget


def fit_job(
    method: Method,
    train_ref: Mapping[str, str],
    fold: Mapping[str, int],
    *,
    subset_fraction: float = 1.0,
) -> Job:
    """Describe one fit: on a fraction of the images outside a fold, evaluated on the fold.

    `train_ref` and `fold` are those of `tenfold.experiments.trial.trial_job`.
    """
    description = {**_description(method, train_ref, fold), "subset_fraction": subset_fraction}
    name = f"{method.name}, fold {fold['index'] + 1}/{fold['folds']}"
    return Job(FIT_TASK, description, name)


def estimate_job(method: Method, train_ref: Mapping[str, str], fold: Mapping[str, int]) -> Job:
    """Describe small fits of the same method, which tell how long large ones will take."""
    name = f"{method.name}, time estimate"
    return Job(ESTIMATE_TASK, _description(method, train_ref, fold), name)


def _description(
    method: Method, train_ref: Mapping[str, str], fold: Mapping[str, int]
) -> dict[str, Any]:
    data = {"train": dict(train_ref), "eval": None, "fold": dict(fold)}
    return {"method": method.to_json(), **data}


def fit_and_predict(description: Mapping[str, Any], folder: Path, emit: Emit) -> dict[str, Any]:
    """Do the job that `fit_job` described; the predictions stay in its folder.

    Returns:
        "correct" and "n" on the fold, "train_images", "fit_s" and "predict_s" with the computing
        of features, "model_bytes", and "peak_memory_bytes" of the process, libraries and images
        included; or "failed" with the reason.
    """
    train_set, eval_set = load_split(description, folder.parent)
    try:
        seed = description["fold"]["seed"]
        train_set = subsample(train_set, description["subset_fraction"], seed)
        measured, predicted = _fit(description["method"], train_set, eval_set, folder, emit)
    except Exception as error:  # an estimator of the user's may raise anything
        return {"failed": _reason_or_raise(error)}
    save_arrays(folder / PREDICTIONS, {"predicted": predicted}, FORMAT, {})
    RunFolder(folder).checkpoint.unlink(missing_ok=True)  # no training resumes from it
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        **measured,
        "correct": int((predicted == eval_set.require_labels()).sum()),
        "n": len(eval_set),
        "train_images": len(train_set),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }


def read_predicted(folder: Path) -> NDArray[np.int64]:
    """Return the predictions of `fit_and_predict`, int64 [N], in the order of its fold's rows."""
    arrays, _ = load_artifact(folder / PREDICTIONS, FORMAT, arrays={"predicted": "int64 [N]"})
    predicted: NDArray[np.int64] = arrays["predicted"]
    return predicted


def estimate_time(description: Mapping[str, Any], folder: Path, emit: Emit) -> dict[str, Any]:
    """Do the job that `estimate_job` described.

    Returns:
        "fits": "train_images", "fit_s", and "predict_s" for one image, for each size that there
        are enough images for; for a recipe, of one size and one epoch. Or "failed" with the reason.
    """
    train_set, eval_set = load_split(description, folder.parent)
    eval_set = eval_set.select(np.arange(min(ESTIMATE_EVAL_IMAGES, len(eval_set))))
    sizes = [size for size in ESTIMATE_SIZES if size <= len(train_set)] or [len(train_set)]
    method = dict(description["method"])
    if (recipe := method["recipe"]) is not None:
        sizes = sizes[-1:]
        one_epoch = {**recipe["training"], "max_epochs": 1}
        method["recipe"] = {**recipe, "training": one_epoch}
    fits = []
    for size in sizes:
        subset = _small_subset(train_set, size, description["fold"]["seed"], method["recipe"])
        run = RunFolder(folder / f"small-{size}")
        try:
            measured, _ = _fit(method, subset, eval_set, run.path, emit)
            run.checkpoint.unlink(missing_ok=True)
        except Exception as error:  # as above
            return {"failed": _reason_or_raise(error)}
        predict_s = measured["predict_s"] / len(eval_set)
        fits.append(
            {"train_images": len(subset), "fit_s": measured["fit_s"], "predict_s": predict_s}
        )
    return {"fits": fits}


def _small_subset(
    train_set: Dataset, size: int, seed: int, recipe: Mapping[str, Any] | None
) -> Dataset:
    """Return about `size` of the images.

    Where a class is too rare for a stratified subset, an estimator gets a random one, and a
    network all images.
    """
    try:
        subset = subsample(train_set, size / len(train_set), seed)
        if recipe is not None:
            config = Recipe.model_validate(recipe)
            train_valid_rows(subset, config.data, config.split_seed)
    except DataError:
        if recipe is not None:
            return train_set
        rows = np.random.default_rng(seed).permutation(len(train_set))[:size]
        return train_set.select(np.sort(rows))
    return subset


def _reason_or_raise(error: Exception) -> str:
    """Return why a method failed; an error that is not the method's fault is raised again."""
    if isinstance(error, Interrupted | OutputError | JobError):
        raise error  # Ctrl-C, a full disk, a changed file
    if isinstance(error, RecipeError):
        return "; ".join(error.problems)
    if isinstance(error, TenfoldError):
        return str(error)
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _fit(
    method: Mapping[str, Any], train_set: Dataset, eval_set: Dataset, folder: Path, emit: Emit
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """Fit and predict; return the times and the size of the model, and int64 [N] predictions."""
    if method["recipe"] is not None:
        return _fit_network(method["recipe"], train_set, eval_set, folder, emit)
    path, feature_names = method["estimator"], method["features"]
    if "source_sha256" in method and source_checksum(path) != method["source_sha256"]:
        raise JobError(f"{path}: its file has changed since the comparison started, run it again")
    import_module_of(path)  # importing is not part of the fitting time
    estimator = fix_random_state(make_estimator(path))
    started = time.perf_counter()
    estimator.fit(extract_features(train_set.images, feature_names), train_set.require_labels())
    fitted = time.perf_counter()
    predicted = np.asarray(estimator.predict(extract_features(eval_set.images, feature_names)))
    ended = time.perf_counter()
    if predicted.shape != (len(eval_set),):
        raise TenfoldError(
            f"predict returned shape {list(predicted.shape)}, expected [{len(eval_set)}]"
        )
    measured = {
        "fit_s": fitted - started,
        "predict_s": ended - fitted,
        "model_bytes": len(pickle.dumps(estimator)),  # for its size; no pickle is kept or read
    }
    return measured, predicted.astype(np.int64)


def _fit_network(
    recipe: Mapping[str, Any], train_set: Dataset, eval_set: Dataset, folder: Path, emit: Emit
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    run = RunFolder(folder)
    trained = fit_single(
        train_set, Recipe.model_validate(recipe), run, callbacks=[JobReporter(emit)]
    )
    trained.recognizer.save(run.recognizer)
    started = time.perf_counter()
    predicted = trained.recognizer.predict(eval_set)
    measured = {
        "fit_s": trained.train_s,
        "predict_s": time.perf_counter() - started,
        "model_bytes": run.recognizer.stat().st_size,
    }
    return measured, predicted


@dataclass(frozen=True)
class Cost:
    """The time of one fit of a method on one core, as a function of the number of images.

    Attributes:
        train_images: of the largest small fit.
        fit_s: seconds of that fit, times all epochs for a network.
        fit_exponent: fit_s grows with the training images to this power.
        predict_s: seconds for one image after that fit.
        predict_exponent: predict_s grows with the training images to this power.
    """

    train_images: int
    fit_s: float
    fit_exponent: float
    predict_s: float
    predict_exponent: float

    @classmethod
    def from_fits(cls, method: Method, fits: Sequence[Mapping[str, Any]]) -> "Cost":
        """Extrapolate from the "fits" of `estimate_time`, smallest first."""
        last = fits[-1]
        if method.recipe is not None:
            training = method.recipe.training
            epochs = training.max_epochs
            expected = epochs * (EARLY_STOPPING_FRACTION if training.patience_epochs else 1)
            return cls(last["train_images"], last["fit_s"] * expected, 1.0, last["predict_s"], 0.0)
        return cls(
            last["train_images"],
            last["fit_s"],
            _exponent(fits, "fit_s", *FIT_EXPONENTS),
            last["predict_s"],
            _exponent(fits, "predict_s", *PREDICT_EXPONENTS),
        )

    def seconds(self, train_images: float, eval_images: int) -> float:
        """Return the seconds of fitting on and predicting so many images."""
        ratio = train_images / self.train_images
        fit_s = self.fit_s * ratio**self.fit_exponent
        predict_s = self.predict_s * ratio**self.predict_exponent * eval_images
        return float(PROCESS_START_S + fit_s + predict_s)

    def affordable_fraction(self, limit_s: float, train_images: int, eval_images: int) -> float:
        """Return the largest fraction of the training images, up to 1, within `limit_s`."""
        if self.seconds(train_images, eval_images) <= limit_s:
            return 1.0
        return _bisect(
            0.0, 1.0, lambda fraction: self.seconds(fraction * train_images, eval_images) <= limit_s
        )


def _exponent(fits: Sequence[Mapping[str, Any]], key: str, lowest: float, highest: float) -> float:
    """Return the exponent of growth between the two largest fits, within bounds; of one fit 1."""
    if len(fits) < 2:
        return min(max(1.0, lowest), highest)
    one, two = fits[-2:]
    growth = log(max(two[key], 1e-6) / max(one[key], 1e-6))
    return min(max(growth / log(two["train_images"] / one["train_images"]), lowest), highest)


def _bisect(low: float, high: float, is_feasible: Callable[[float], bool]) -> float:
    """Return the largest feasible value between `low` and `high`, after 30 halvings."""
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if is_feasible(middle) else (low, middle)
    return low


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return the time until all jobs end, each started in turn by the first free worker."""
    free_at = [0.0] * workers
    heapq.heapify(free_at)
    for each in seconds:
        heapq.heappush(free_at, heapq.heappop(free_at) + each)
    return max(free_at)


def apply_budget(
    costs: Sequence[Cost],
    budget_s: float,
    *,
    train_images: int,
    eval_images: int,
    folds: int,
    workers: int,
    classes: int,
) -> list[float]:
    """Return the fraction of the training images for each method, so that all fits fit a budget.

    No fit may take longer than a limit, the same for all methods: the highest for which the last
    fit ends within `budget_s`. Every method gets `MIN_TRAIN_IMAGES`, and all images where fewer
    than one of each class would be left out.

    Args:
        costs: of each method.
        budget_s: seconds for all fits.
        train_images: outside each fold.
        eval_images: in each fold.
        folds: fits of each method.
        workers: fits at a time.
        classes: of the images.
    """
    least = min(1.0, MIN_TRAIN_IMAGES / train_images)

    def fraction(cost: Cost, limit_s: float) -> float:
        affordable = max(least, cost.affordable_fraction(limit_s, train_images, eval_images))
        return 1.0 if train_images * (1 - affordable) < classes else affordable

    def total_s(limit_s: float) -> float:
        seconds = sorted(
            cost.seconds(fraction(cost, limit_s) * train_images, eval_images) for cost in costs
        )
        return makespan([each for each in seconds for _ in range(folds)], workers)

    limit_s = _bisect(0.0, budget_s, lambda limit_s: total_s(limit_s) <= budget_s)
    return [fraction(cost, limit_s) for cost in costs]


@dataclass
class MethodResult:
    """One method: its expected cost, and its results.

    Attributes:
        method: which.
        cost: None if the small fits failed.
        subset_fraction: of the training images, to stay within the budget.
        folds: the result of each finished fold, as `fit_and_predict` returned it.
        reason: why it failed.
    """

    method: Method
    cost: Cost | None = None
    subset_fraction: float = 1.0
    folds: list[Mapping[str, Any]] = field(default_factory=list)
    reason: str = ""

    @property
    def score(self) -> Score | None:
        """Over the finished folds; None before the first, or if the method failed."""
        if self.reason or not self.folds:
            return None
        correct = sum(result["correct"] for result in self.folds)
        return Score(correct, sum(result["n"] for result in self.folds))

    def mean(self, key: str) -> float:
        """Return the mean over folds of one of their numbers."""
        return float(sum(result[key] for result in self.folds) / len(self.folds))

    @property
    def fit_s(self) -> float:
        """Seconds of one fit."""
        return self.mean("fit_s")

    @property
    def predict_s_per_1000(self) -> float:
        """Seconds for 1,000 predictions."""
        return 1000 * self.mean("predict_s") / self.mean("n")

    def sort_key(self) -> tuple[float, float]:
        """Sort by this: best first, those without a score last."""
        return (1.0, 0.0) if self.score is None else (0.0, -self.score.accuracy)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values; of a failed method its name and the reason."""
        if self.score is None:
            return {"method": self.method.name, "reason": self.reason or "not finished"}
        return {
            "method": self.method.name,
            **self.score.to_json(),
            "train_images": round(self.mean("train_images")),
            "subset_fraction": self.subset_fraction,
            "fit_s": self.fit_s,
            "predict_s_per_1000": self.predict_s_per_1000,
            "model_bytes": round(self.mean("model_bytes")),
            "peak_memory_bytes": max(result["peak_memory_bytes"] for result in self.folds),
        }

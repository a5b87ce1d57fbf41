"""One method fitted on one fold, timed on one core, and judged on the images held out: a job."""

import pickle
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tenfold.data.dataset import Dataset
from tenfold.errors import DataError, Interrupted, JobError, OutputError, RecipeError, TenfoldError
from tenfold.experiments.features import features
from tenfold.experiments.methods import Method, make, module_of, source_of
from tenfold.experiments.trial import images_of, some_of
from tenfold.files import RunFolder
from tenfold.jobs import Job, Tell
from tenfold.recipe import Recipe
from tenfold.tensors import load_tensors, save_tensors
from tenfold.training.progress import Teller
from tenfold.training.single import divide, learn_one

FIT = "tenfold.experiments.fitting:fit_and_judge"
PROBE = "tenfold.experiments.fitting:probe"
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


def fit_and_judge(description: Mapping[str, Any], folder: Path, tell: Tell) -> dict[str, Any]:
    """Do the job that `fit_job` described; the answers stay in its folder.

    Returns:
        "correct" and "n" on the fold, "images" learned from, "fit_s" and "predict_s" with the
        making of features, "bytes" of what was learned, "peak_bytes" of the process, libraries and
        images included; or "failed" with a sentence.
    """
    learn, judge = images_of(description, folder.parent)
    try:
        learn = some_of(learn, description["part"], description["fold"]["seed"])
        found, answers = _fit(description["method"], learn, judge, folder, tell)
    except Exception as error:  # any estimator may be brought, and fail in its own way
        return {"failed": _fault_of_method(error)}
    save_tensors(folder / ANSWERS, {"answers": torch.from_numpy(answers)}, FORMAT, {})
    RunFolder(folder).checkpoint.unlink(missing_ok=True)  # nobody goes on from here
    correct = int((answers == judge.known_labels()).sum())
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    about = {"correct": correct, "n": len(judge), "images": len(learn), "peak_bytes": peak}
    return {**found, **about}


def read_answers(folder: Path) -> NDArray[np.int64]:
    """Return what `fit_and_judge` answered, int64 [N], in the order of its fold's rows."""
    tensors, _ = load_tensors(folder / ANSWERS, FORMAT)
    answers: NDArray[np.int64] = tensors["answers"].numpy()
    return answers


def probe(description: Mapping[str, Any], folder: Path, tell: Tell) -> dict[str, Any]:
    """Do the job that `probe_job` described.

    Returns:
        "fits": "images", "fit_s", and "predict_s" for one image, of each size that there are
        images for; for a recipe of one size and one epoch. Or "failed" with a sentence.
    """
    learn, judge = images_of(description, folder.parent)
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
            found, _ = _fit(method, some, judge, folder / f"small-{size}", tell)
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
        some = some_of(learn, size / len(learn), seed)
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
    method: Mapping[str, Any], learn: Dataset, judge: Dataset, folder: Path, tell: Tell
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """Fit, answer, and say how long it took and how large the result is."""
    if method["recipe"] is not None:
        return _fit_network(Recipe.model_validate(method["recipe"]), learn, judge, folder, tell)
    if "source" in method and source_of(method["estimator"]) != method["source"]:
        raise JobError(f"{method['estimator']}: its file changed meanwhile, run it again")
    module_of(method["estimator"])  # what is imported now is not counted as fitting
    estimator = _seeded(make(method["estimator"]))
    started = time.perf_counter()
    estimator.fit(features(learn.images, method["features"]), learn.known_labels())
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
    recipe: Recipe, learn: Dataset, judge: Dataset, folder: Path, tell: Tell
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    run = RunFolder(folder)
    learned = learn_one(learn, recipe, run, listener=Teller(tell))
    started = time.perf_counter()
    answers: NDArray[np.int64] = learned.recognizer.probabilities(judge).argmax(axis=1)
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

"""Learning by a recipe for one network: divide the images, train, judge what was held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.dataset import Dataset
from tenfold.data.splits import fold, split_rows
from tenfold.files import RunFolder
from tenfold.recipe import Recipe
from tenfold.recognizer import Recognizer
from tenfold.training.loop import fit
from tenfold.training.progress import Listener


@dataclass(frozen=True)
class HeldOut:
    """Labelled images judged by networks that did not learn from them.

    Attributes:
        dataset: the images.
        rows: int64 [N], where each stands among all labelled images.
        probabilities: float32 [N, classes]; in an ensemble the mean over the members that held
            an image out, which are far fewer than all.
    """

    dataset: Dataset
    rows: NDArray[np.int64]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class Learned:
    """What a recipe made of labelled images.

    Attributes:
        recognizer: calibrated, once it comes from `tenfold.training.learn.learn`.
        held_out: None if the recipe holds nothing out.
        history: the epochs of the network, or of the first member.
        train_s: seconds of training and validation; pauses left out.
    """

    recognizer: Recognizer
    held_out: HeldOut | None
    history: Sequence[Mapping[str, Any]]
    train_s: float


def learn_one(
    labelled: Dataset,
    recipe: Recipe,
    folder: RunFolder,
    *,
    listener: Listener,
    teacher: Recognizer | None = None,
    extra: Dataset | None = None,
    checks: Mapping[str, Any] | None = None,
) -> Learned:
    """Train one network in `folder`, going on with what is there; it is not calibrated yet.

    The arguments are those of `tenfold.training.learn.learn`; `teacher` is whom the network learns
    from besides.
    """
    training, validation = divide(labelled, recipe)
    if validation is not None:
        listener.note(f"learning from {len(training):,}, held out {len(validation):,} to judge by")
    kept = fit(
        training if extra is None else training.joined(extra),
        validation,
        recipe,
        out=folder.path,
        resume=True,  # `learn` has looked whether it may
        teacher=teacher,
        checks=checks,
        listener=listener,
    )
    recognizer = replace(kept, temperature=1.0)  # a resumed run may have had one already
    held_out = None
    if validation is not None:
        _, rows = rows_of(labelled, recipe)
        held_out = HeldOut(validation, rows, recognizer.probabilities(validation))
    history = folder.history()
    return Learned(recognizer, held_out, history, history[-1]["elapsed_s"])


def divide(labelled: Dataset, recipe: Recipe) -> tuple[Dataset, Dataset | None]:
    """Return the images to learn from and those held out, as a recipe for one network says."""
    if recipe.data.validation is None:
        return labelled, None
    train, valid = rows_of(labelled, recipe)
    return (
        labelled.select(train, f"{labelled.name} (training part)"),
        labelled.select(valid, f"{labelled.name} (validation part)"),
    )


def rows_of(labelled: Dataset, recipe: Recipe) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows to learn from and those held out, by a recipe that holds some out."""
    data, seed = recipe.data, recipe.split_seed
    assert data.validation is not None
    if data.fold is None:
        return split_rows(labelled, data.validation, seed)
    assert data.folds is not None
    return fold(labelled, data.folds, data.fold, seed)


def assist(labelled: Dataset, recipe: Recipe) -> None:
    """Be one of several processes that train one network, but not the one that keeps it."""
    training, validation = divide(labelled, recipe)
    fit(training, validation, recipe)

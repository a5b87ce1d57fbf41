"""The commands that train: run and train."""

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from tenfold.cli.common import (
    ExecutorOption,
    HeaderOption,
    IdOption,
    InvertOption,
    LabelOption,
    LikeOption,
    OutOption,
    RecipeOption,
    ResumeOption,
    SeedOption,
    SetOption,
    TrainFile,
    TransposeOption,
    app,
    make_console,
    print_line,
    read_images,
    read_options,
    submission_form,
)
from tenfold.errors import Interrupted, RecipeError, TenfoldError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tenfold.data import Dataset, ReadOptions
    from tenfold.recipe import Recipe

logger = logging.getLogger(__name__)


@app.command("run")
def run_command(
    train: Annotated[Path | None, Argument(metavar="TRAIN", help="Kaggle's train.csv.")] = None,
    test: Annotated[Path | None, Argument(metavar="TEST", help="Kaggle's test.csv.")] = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    label: LabelOption = None,
    invert: InvertOption = False,
    transpose: TransposeOption = False,
    row_id: IdOption = None,
    header: HeaderOption = None,
    like: LikeOption = None,
    executor: ExecutorOption = "local",
) -> None:
    """Do the main job: check, train, predict, write submission.csv and a report.

    Without TRAIN and TEST it uses MNIST in the competition's shape, and scores itself.
    """
    console = make_console()
    from tenfold.jobs.job import rank_and_world_size

    if rank_and_world_size()[1] > 1:
        raise TenfoldError("run under torchrun: expected `tenfold train`, then `tenfold predict`")
    resolved = resolve_recipe(recipe, set_, seed, out, resume)
    form = submission_form(test or train or Path(), row_id, header, like)
    options = read_options(label, invert, transpose, row_id)
    train_set, test_set, test_labels = load_datasets(train, test, resolved.seed, options)

    from tenfold.run import run
    from tenfold.training.console import console_callback

    with run_directory(resolved, out) as folder:
        test_score = run(
            train_set,
            test_set,
            resolved,
            folder,
            test_labels=test_labels,
            callbacks=[console_callback(console)],
            resume=resume,
            executor=executor,
            form=form,
        )
    if test_score is not None:
        print_line(console, f"test score: {test_score}")
    print_line(console, f"report: {folder / 'report.html'}")


@app.command("train")
def train_command(
    train: TrainFile,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    label: LabelOption = None,
    invert: InvertOption = False,
    transpose: TransposeOption = False,
    executor: ExecutorOption = "local",
    watch: Annotated[
        bool, Option("--watch", help="Keep figures/training.png up to date meanwhile.")
    ] = False,
) -> None:
    """Train a recognizer and leave a run folder."""
    console = make_console()
    from tenfold.jobs.job import rank_and_world_size

    resolved = resolve_recipe(recipe, set_, seed, out, resume)
    if resolved.data.pseudo_label_threshold is not None:
        problem = "data.pseudo_label_threshold needs test images, expected `tenfold run`"
        raise RecipeError(resolved.name, [problem])
    rank, world_size = rank_and_world_size()
    if world_size > 1 and not resolved.is_single_model:
        problem = "trains several networks, expected one, and no teacher, under torchrun"
        raise RecipeError(resolved.name, [problem])
    train_set = read_images(train, labels=True, options=read_options(label, invert, transpose))
    if rank > 0:
        from tenfold.training.loop import fit_single

        fit_single(train_set, resolved)  # shares the steps; the main process keeps the result
        return

    from tenfold.report.figures.training import LivePlot
    from tenfold.run import train_and_report
    from tenfold.run_folder import RunFolder
    from tenfold.training.console import console_callback

    with run_directory(resolved, out) as folder:
        run, callbacks = RunFolder(folder), [console_callback(console)]
        if watch and resolved.ensemble.members > 1:
            logger.info("--watch: members train in processes of their own, their curves come last")
        elif watch:
            callbacks.append(LivePlot(run))
        train_and_report(
            train_set, resolved, run, callbacks=callbacks, resume=resume, executor=executor
        )
    print_line(console, f"report: {folder / 'report.html'}")


@contextmanager
def run_directory(recipe: "Recipe", out: Path | None) -> Iterator[Path]:
    """Yield the run folder, locked meanwhile; an interrupt says how to resume in it."""
    from tenfold.files import cleanup_on_error, exclusive_lock, new_folder

    time = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = out or new_folder(Path("runs") / f"{recipe.name}-{time}")
    try:
        with cleanup_on_error(folder), exclusive_lock(folder, "run"):
            yield folder
    except Interrupted as stopped:
        how = f"the same command with --resume --out {shlex.quote(str(folder))} resumes it"
        raise Interrupted(f"{stopped}; {how}") from stopped


def resolve_recipe(
    recipe: str | None,
    overrides: list[str] | None,
    seed: int | None,
    out: Path | None,
    resume: bool,
) -> "Recipe":
    """Load the recipe; `--resume` takes that of the folder `out` unless another is named."""
    from tenfold.files import path_exists
    from tenfold.recipe import Recipe
    from tenfold.run_folder import RunFolder

    source: str | Path = recipe or "quick"
    if resume and out is None:
        raise TenfoldError("--resume: expected the folder of the run in --out")
    if resume and out is not None:
        folder = RunFolder(out)
        folder.check_format()
        if recipe is None:
            source = folder.recipe
            if not path_exists(source):
                raise TenfoldError(
                    f"{out}: holds no run to resume, expected a run folder, or --recipe to begin "
                    "one"
                )
    return Recipe.load(source, overrides=overrides or (), seed=seed)


def load_datasets(
    train: Path | None, test: Path | None, seed: int, options: "ReadOptions"
) -> tuple["Dataset", "Dataset", "NDArray[np.str_] | None"]:
    """Read both files, or take MNIST in their place, whose test labels are known.

    One folder or archive may hold both.
    """
    if train is not None:
        from tenfold.data.formats import holds_both

        if test is None and not holds_both(train):
            raise TenfoldError(
                "TEST is missing: expected both TRAIN and TEST, or neither for MNIST"
            )
        train_options = replace(options, row_id=None)
        train_set = read_images(train, labels=True, options=train_options)
        return train_set, read_images(test or train, labels=False, options=options), None
    from tenfold.data import kaggle_split, mnist

    logger.info("no files given: MNIST in the competition's shape, 42,000 labelled, 28,000 not")
    train_set, test_set = kaggle_split(*mnist(), seed)
    return train_set, test_set.without_labels(), test_set.label_names()

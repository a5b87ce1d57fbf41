"""The commands that learn: run and train."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from tenfold.cli.common import (
    ExecutorOption,
    OutOption,
    RecipeOption,
    ResumeOption,
    SeedOption,
    SetOption,
    TrainFile,
    app,
    make_console,
    make_logger,
    processes_together,
    read_images,
    say,
)
from tenfold.errors import Interrupted, RecipeError, TenfoldError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from tenfold.data import Dataset
    from tenfold.recipe import Recipe


@app.command("run")
def run_command(
    train: Annotated[Path | None, Argument(metavar="TRAIN", help="Kaggle's train.csv.")] = None,
    test: Annotated[Path | None, Argument(metavar="TEST", help="Kaggle's test.csv.")] = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    executor: ExecutorOption = "local",
) -> None:
    """Do the main job: check, train, explain and write submission.csv.

    Without TRAIN and TEST it takes MNIST in the competition's shape, and scores itself.
    """
    console = make_console()
    if processes_together() > 1:
        raise TenfoldError("run under torchrun: expected `tenfold train`, then `tenfold predict`")
    chosen = resolve_recipe(recipe, set_, seed, out, resume)
    labelled, unlabelled, truth = load_datasets(train, test, chosen.seed, console)

    from tenfold.run import run
    from tenfold.training.callbacks import listener

    with run_directory(chosen, out) as folder:
        score = run(
            labelled,
            unlabelled,
            chosen,
            folder,
            truth=truth,
            listener=listener(console),
            resume=resume,
            executor=executor,
        )
    if score is not None:
        say(console, f"score on the {score.n:,}: {score}")
    say(console, f"everything about this run is in {folder}, told in its report.html")


@app.command("train")
def train_command(
    train: TrainFile,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    executor: ExecutorOption = "local",
    watch: Annotated[
        bool, Option("--watch", help="Keep figures/training.png up to date meanwhile.")
    ] = False,
) -> None:
    """Train a recognizer and leave a run folder."""
    console = make_console()
    chosen = resolve_recipe(recipe, set_, seed, out, resume)
    if chosen.data.pseudo_label_threshold is not None:
        problem = "data.pseudo_label_threshold needs images to predict, expected `tenfold run`"
        raise RecipeError(chosen.name, [problem])
    several = chosen.ensemble.members > 1 or chosen.distillation.teacher is not None
    if processes_together() > 1 and several:
        problem = "trains several networks, expected one, and no teacher, under torchrun"
        raise RecipeError(chosen.name, [problem])
    labelled = read_images(train, labels=True, console=console)
    if console.quiet:
        from tenfold.training.train import fit_worker_rank

        fit_worker_rank(labelled, chosen)
        return

    from tenfold.report.live import LivePlot
    from tenfold.run import train as learn
    from tenfold.run_folder import RunFolder
    from tenfold.training.callbacks import listener

    told = listener(console)
    if watch and chosen.ensemble.members > 1:
        told.note("--watch: members train in processes of their own, their curves come at the end")
    with run_directory(chosen, out) as folder:
        run = RunFolder(folder)
        told = LivePlot(told, run) if watch else told
        learn(labelled, chosen, run, listener=told, resume=resume, executor=executor)
    say(console, f"everything about this run is in {folder}, told in its report.html")


@contextmanager
def run_directory(recipe: "Recipe", out: Path | None) -> Iterator[Path]:
    """Yield the run folder, ours alone meanwhile; say on an interrupt how to go on in it."""
    from tenfold.files import cleanup_on_error, exclusive_lock, new_folder

    moment = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = out or new_folder(Path("runs") / f"{recipe.name}-{moment}")
    try:
        with cleanup_on_error(folder), exclusive_lock(folder, "run"):
            yield folder
    except Interrupted as stopped:
        how = f"the same command with --resume --out {folder} goes on from there"
        raise Interrupted(f"{stopped}; {how}") from stopped


def resolve_recipe(
    recipe: str | None,
    overrides: list[str] | None,
    seed: int | None,
    out: Path | None,
    resume: bool,
) -> "Recipe":
    """Settle the recipe; `--resume` takes that of the folder `out` unless told one."""
    from tenfold.files import path_exists
    from tenfold.recipe import Recipe
    from tenfold.run_folder import RunFolder

    source: str | Path = recipe or "quick"
    if resume and out is None:
        raise TenfoldError("--resume: which run is meant? expected its folder in --out")
    if resume and out is not None and recipe is None:
        source = RunFolder(out).recipe
        if not path_exists(source):
            raise TenfoldError(
                f"{out}: holds no run to resume, expected a run folder, or --recipe to begin one"
            )
    return Recipe.load(source, overrides=overrides or (), seed=seed)


def load_datasets(
    train: Path | None, test: Path | None, seed: int, console: "Console"
) -> tuple["Dataset", "Dataset", "NDArray[np.str_] | None"]:
    """Read both files, or take MNIST in their place, whose truth is known."""
    if train is not None and test is not None:
        labelled = read_images(train, labels=True, console=console)
        return labelled, read_images(test, labels=False, console=console), None
    if train is not None:
        raise TenfoldError("TEST is missing: expected both TRAIN and TEST, or neither for MNIST")
    from tenfold.data import kaggle_split, mnist

    say(console, "no files given: MNIST in the competition's shape, 42,000 labelled, 28,000 not")
    labelled, held_back = kaggle_split(*mnist(on_note=make_logger(console)), seed)
    return labelled, held_back.without_labels(), held_back.label_names()

"""The commands that try things out: search and compare."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from tenfold.cli.common import (
    ExecutorOption,
    RecipeOption,
    SetOption,
    TrainFile,
    app,
    make_console,
    print_line,
    read_images,
)
from tenfold.errors import ExperimentError

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.experiments.search import SearchResult
    from tenfold.experiments.space import SearchConfig


BudgetOption = Annotated[
    str | None, Option("--budget", metavar="TIME", help="Such as 90s, 30m or 2h.")
]


@app.command("search")
def search_command(
    train: TrainFile,
    trials: Annotated[int, Option("--trials", metavar="N", help="Recipes to draw and try.")] = 30,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    space: Annotated[
        Path | None, Option("--space", metavar="FILE", help="What may be chosen; TOML.")
    ] = None,
    sampler: Annotated[
        str, Option("--sampler", metavar="NAME", help="random, tpe or gp.")
    ] = "random",
    budget: BudgetOption = None,
    folds: Annotated[
        int | None,
        Option("--folds", metavar="K", help="Judge each trial by K folds, not by one of five."),
    ] = None,
    seeds: Annotated[
        int,
        Option("--seeds", metavar="N", help="On N, winner and start are trained again; 0: none."),
    ] = 5,
    seed: Annotated[int, Option("--seed", help="Decides division and draws.", min=0)] = 0,
    out: Annotated[
        Path | None, Option("--out", metavar="DIR", help="Default: runs/search-RECIPE.")
    ] = None,
    executor: ExecutorOption = "local",
    storage: Annotated[
        str | None, Option("--storage", metavar="URL", help="postgresql://…, to share trials by.")
    ] = None,
    worker: Annotated[
        bool, Option("--worker", help="With --storage: run trials, conclude nothing.")
    ] = False,
) -> None:
    """Search for a better recipe; run again, it goes on.

    Trials begin cheap and the best third goes on. Leaves best.toml, search.csv and a report.
    """
    console = make_console()
    from tenfold.experiments.search import search
    from tenfold.experiments.space import SearchConfig, Space
    from tenfold.recipe import Recipe
    from tenfold.training.console import console_callback

    start = Recipe.load(recipe or "quick", overrides=set_ or (), seed=seed)
    plan = SearchConfig(Space.load(space, start), trials, sampler, seed, folds, seeds)
    if worker and storage is None:
        raise ExperimentError("--worker: shares a search, expected --storage to say where")
    if budget and storage:
        raise ExperimentError("--budget: is for one machine's search, expected no --storage")
    budget_s = None if budget is None else seconds_of(budget)
    own = f"-worker-{os.getpid()}" if worker else ""
    folder = out or Path("runs") / f"search-{start.name}{own}"
    if storage is None:
        labelled = read_images(train, labels=True)
        found = search(
            labelled,
            plan,
            folder,
            budget_s=budget_s,
            executor=executor,
            board=console_callback(console),
        )
    else:
        shared = _share(
            train, plan, folder, storage, worker=worker, executor=executor, console=console
        )
        if shared is None:
            print_line(
                console, "all trials are done; the process without --worker concludes the search"
            )
            return
        found = shared
    winner = found.winner
    print_line(
        console, f"winner: trial {winner.number}, {winner.reached[-1].accuracy:.4f} in the search"
    )
    said = found.doubt if found.verdict is None else found.verdict.sentence()
    print_line(console, said)
    print_line(console, f"everything is in {folder}, told in its report.html")
    trained = f"tenfold run {train} TEST --recipe {folder / 'best.toml'}"
    if found.verdict is not None and found.verdict.better:
        print_line(console, f"train it with: {trained}")
    else:
        print_line(
            console,
            f"nothing shows it better than {start.name}; to train it all the same: {trained}",
        )


def _share(
    train: Path,
    plan: "SearchConfig",
    folder: Path,
    storage: str,
    *,
    worker: bool,
    executor: str,
    console: "Console",
) -> "SearchResult | None":
    """Take part in a search with a database."""
    from tenfold.experiments.distributed import address_of, search_shared
    from tenfold.training.console import console_callback

    address_of(storage)  # before the images are read
    labelled = read_images(train, labels=True)
    return search_shared(
        labelled,
        plan,
        folder,
        storage,
        worker=worker,
        executor=executor,
        board=console_callback(console),
    )


@app.command("compare")
def compare_command(
    train: TrainFile,
    methods: Annotated[
        str | None,
        Option(
            "--methods", metavar="A,B,…", help="Such as knn+deskew,quick,module:Class. Default: 14."
        ),
    ] = None,
    folds: Annotated[int, Option("--folds", metavar="K", help="Each held out in turn.", min=2)] = 3,
    budget: BudgetOption = None,
    seed: Annotated[
        int, Option("--seed", help="Of the division into folds.", min=0, max=2**32 - 1)
    ] = 0,
    out: Annotated[
        Path | None, Option("--out", metavar="DIR", help="Default: runs/compare.")
    ] = None,
    executor: ExecutorOption = "local",
) -> None:
    """Compare methods, from naive Bayes to networks; run again, it goes on.

    All answer the same folds. Says beforehand what each will take. Leaves compare.csv, its figure
    and a report.
    """
    console = make_console()
    from tenfold.experiments.baselines import methods_of
    from tenfold.experiments.compare import compare
    from tenfold.formatting import format_duration
    from tenfold.training.console import console_callback

    asked = methods_of(methods)
    budget_s = None if budget is None else seconds_of(budget)
    folder = out or Path("runs") / "compare"
    labelled = read_images(train, labels=True)
    found = compare(
        labelled, asked, folder, folds=folds, seed=seed, budget_s=budget_s, executor=executor,
        board=console_callback(console),
    )  # fmt: skip
    for entry in found.entries:
        told = f"failed: {entry.reason}" if entry.score is None else f"{entry.score}"
        print_line(console, f"{entry.method.name:14} {told}")
    if found.expected_s:
        print_line(
            console,
            f"expected {format_duration(found.expected_s)}, took {format_duration(found.took_s)}",
        )
    print_line(console, f"everything is in {folder}, told in its report.html")


def seconds_of(text: str) -> float:
    """Understand "90s", "30m" or "2h".

    Raises:
        ExperimentError: it is no time above 0.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if found is None or float(found[1]) <= 0:
        raise ExperimentError(f"--budget {text}: expected a time such as 90s, 30m or 2h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]

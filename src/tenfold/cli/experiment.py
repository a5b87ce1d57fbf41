"""The commands that run experiments: search and compare."""

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from tenfold.cli.common import (
    ExecutorOption,
    InvertOption,
    LabelOption,
    RecipeOption,
    SetOption,
    TrainFile,
    TransposeOption,
    app,
    make_console,
    print_line,
    read_images,
    read_options,
)
from tenfold.errors import ExperimentError

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.data import ReadOptions
    from tenfold.experiments.search import SearchResult
    from tenfold.experiments.space import SearchConfig


BudgetOption = Annotated[
    str | None, Option("--budget", metavar="TIME", help="Such as 90s, 30m or 2h.")
]


@app.command("search")
def search_command(
    train: TrainFile,
    trials: Annotated[int, Option("--trials", metavar="N", help="Number of recipes to try.")] = 30,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    space: Annotated[
        Path | None, Option("--space", metavar="FILE", help="What to search; TOML.")
    ] = None,
    sampler: Annotated[
        str, Option("--sampler", metavar="NAME", help="random, tpe or gp.")
    ] = "random",
    budget: BudgetOption = None,
    folds: Annotated[
        int | None,
        Option(
            "--folds",
            metavar="K",
            help="Cross-validate each trial on K folds. Default: one of five.",
        ),
    ] = None,
    seeds: Annotated[
        int,
        Option("--seeds", metavar="N", help="Test the winner on N seeds; 0 skips the test."),
    ] = 5,
    seed: Annotated[int, Option("--seed", help="Of the split and the sampler.", min=0)] = 0,
    out: Annotated[
        Path | None, Option("--out", metavar="DIR", help="Default: runs/search-RECIPE.")
    ] = None,
    label: LabelOption = None,
    invert: InvertOption = False,
    transpose: TransposeOption = False,
    executor: ExecutorOption = "local",
    storage: Annotated[
        str | None, Option("--storage", metavar="URL", help="postgresql://…, to share the study.")
    ] = None,
    worker: Annotated[bool, Option("--worker", help="With --storage: only run trials.")] = False,
) -> None:
    """Search for a better recipe; run again, it resumes.

    Trials start on a small budget, and the best third gets more (successive halving). The winner is
    tested against the baseline on several seeds. Leaves best.toml, search.csv and a report.
    """
    console = make_console()
    from tenfold.experiments.search import search
    from tenfold.experiments.space import SearchConfig, Space
    from tenfold.recipe import Recipe
    from tenfold.training.console import console_callback

    baseline = Recipe.load(recipe or "quick", overrides=set_ or (), seed=seed)
    config = SearchConfig(Space.load(space, baseline), trials, sampler, seed, folds, seeds)
    if worker and storage is None:
        raise ExperimentError("--worker: needs a shared study, expected --storage")
    if budget and storage:
        raise ExperimentError("--budget: applies to one machine's search, expected no --storage")
    budget_s = None if budget is None else parse_time(budget)
    suffix = f"-worker-{os.getpid()}" if worker else ""
    folder = out or Path("runs") / f"search-{baseline.name}{suffix}"
    options = read_options(label, invert, transpose)
    if storage is None:
        labelled = read_images(train, labels=True, options=options)
        callback = console_callback(console)
        result = search(
            labelled, config, folder, budget_s=budget_s, executor=executor, callback=callback
        )
    else:
        shared = _search_shared(
            train,
            config,
            folder,
            storage,
            options=options,
            worker=worker,
            executor=executor,
            console=console,
        )
        if shared is None:
            print_line(
                console, "all trials are done; the process without --worker tests the winner"
            )
            return
        result = shared
    _print_winner(console, result, train, folder, baseline.name)


def _print_winner(
    console: "Console", result: "SearchResult", train: Path, folder: Path, baseline: str
) -> None:
    """Say which recipe won, whether it is better than the baseline, and how to train it."""
    winner, test = result.winner, result.paired_test
    accuracy = winner.results[-1].accuracy
    print_line(console, f"winner: trial {winner.number}, {accuracy:.4f} in the search")
    print_line(console, result.no_test_reason if test is None else test.summary())
    print_line(console, f"report: {folder / 'report.html'}")
    files = (shlex.quote(str(path)) for path in (train, folder / "best.toml"))
    command = "tenfold run {} TEST --recipe {}".format(*files)
    if test is not None and test.is_better:
        print_line(console, f"train it with: {command}")
    else:
        print_line(
            console, f"not shown to be better than {baseline}; to train it anyway: {command}"
        )


def _search_shared(
    train: Path,
    config: "SearchConfig",
    folder: Path,
    storage: str,
    *,
    options: "ReadOptions",
    worker: bool,
    executor: str,
    console: "Console",
) -> "SearchResult | None":
    """Take part in a search whose study is in a database."""
    from tenfold.experiments.shared_search import search_shared, sqlalchemy_url
    from tenfold.training.console import console_callback

    sqlalchemy_url(storage)  # fails before the images are read
    labelled = read_images(train, labels=True, options=options)
    callback = console_callback(console)
    return search_shared(
        labelled, config, folder, storage, worker=worker, executor=executor, callback=callback
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
        int, Option("--seed", help="Of the split into folds.", min=0, max=2**32 - 1)
    ] = 0,
    out: Annotated[
        Path | None, Option("--out", metavar="DIR", help="Default: runs/compare.")
    ] = None,
    label: LabelOption = None,
    invert: InvertOption = False,
    transpose: TransposeOption = False,
    executor: ExecutorOption = "local",
) -> None:
    """Compare methods, from naive Bayes to networks; run again, it resumes.

    All are cross-validated on the same folds, after an estimate of the time that each will take.
    Leaves compare.csv, its figure and a report.
    """
    console = make_console()
    from tenfold.experiments.baselines import parse_methods
    from tenfold.experiments.compare import compare
    from tenfold.formatting import format_duration
    from tenfold.training.console import console_callback

    wanted = parse_methods(methods)
    budget_s = None if budget is None else parse_time(budget)
    folder = out or Path("runs") / "compare"
    options = read_options(label, invert, transpose)
    labelled = read_images(train, labels=True, options=options)
    result = compare(
        labelled, wanted, folder, folds=folds, seed=seed, budget_s=budget_s, executor=executor,
        callback=console_callback(console),
    )  # fmt: skip
    for fitted in result.methods:
        outcome = f"failed: {fitted.reason}" if fitted.score is None else f"{fitted.score}"
        print_line(console, f"{fitted.method.name:14} {outcome}")
    if result.expected_s:
        expected, took = format_duration(result.expected_s), format_duration(result.took_s)
        print_line(console, f"expected {expected}, took {took}")
    print_line(console, f"report: {folder / 'report.html'}")


def parse_time(text: str) -> float:
    """Return the seconds of "90s", "30m" or "2h".

    Raises:
        ExperimentError: it is not a time above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None or float(match[1]) <= 0:
        raise ExperimentError(f"--budget {text}: expected a time such as 90s, 30m or 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]

"""The commands to look at things: check, data, report and recipes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from tenfold.cli.common import (
    JsonOption,
    TrainFile,
    app,
    make_console,
    make_logger,
    print_json,
    read_images,
    say,
)
from tenfold.errors import TenfoldError

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.recipe import Recipe


@app.command("check")
def check_command(
    train: TrainFile,
    test: Annotated[Path | None, Argument(metavar="TEST", help="CSV to predict.")] = None,
    out: Annotated[
        Path | None, Option("--out", metavar="DIR", help="Draw pictures into it, too.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what is wrong or odd in the data, and any overlap."""
    console = make_console(as_json)
    from tenfold.data import check

    labelled = read_images(train, labels=True, console=console)
    unlabelled = None if test is None else read_images(test, labels=False, console=console)
    findings = check(labelled, unlabelled)
    if as_json:
        print_json(findings.to_json())
    else:
        for line in findings.lines():
            say(console, line)
    if out is not None:
        from tenfold.files import output_folder
        from tenfold.report import figures

        folder, labels, classes = output_folder(out), labelled.require_labels(), labelled.classes
        title = f"Images of each class: {labelled.name}"
        balance = figures.class_balance(labelled.class_counts(), None, title)
        figures.save(balance, folder / "classes.png")
        sheet = figures.sample_sheet(labelled.images, labels, classes)
        figures.save(sheet, folder / "samples.png")
        say(console, f"pictures are in {folder}")


@app.command("data")
def data_command(
    name: Annotated[str, Argument(metavar="NAME", help="So far mnist alone.")],
    kaggle: Annotated[Path, Option("--kaggle", metavar="DIR", help="Where the four CSV files go.")],
    seed: Annotated[
        int | None, Option("--seed", help="Of the split 42,000 / 28,000. Default: 0.", min=0)
    ] = None,
    canonical: Annotated[
        bool, Option("--canonical", help="MNIST's own 60,000 / 10,000 instead.")
    ] = False,
) -> None:
    """Write a dataset as the competition hands it out."""
    console = make_console()
    if canonical and seed is not None:
        raise TenfoldError(
            f"--seed {seed}: MNIST's own split is not drawn, expected no --canonical"
        )
    from tenfold.data import kaggle_split, load, write_kaggle_folder

    both = load(name, on_note=make_logger(console))
    train, test = both if canonical else kaggle_split(*both, seed or 0)
    write_kaggle_folder(kaggle, train, test)
    say(
        console,
        f"{len(train):,} labelled digits in {kaggle / 'train.csv'}, "
        f"{len(test):,} to predict in {kaggle / 'test.csv'}, their truth in truth.csv",
    )


@app.command("report")
def report_command(
    runs: Annotated[
        list[Path], Argument(metavar="RUN", help="Run folders: drawn again, or compared.")
    ],
    digit: Annotated[
        str | None,
        Option("--digit", metavar="CLASS", help="Follow an image of this class through it."),
    ] = None,
    compare: Annotated[bool, Option("--compare", help="Lay several runs side by side.")] = False,
    out: Annotated[
        Path | None, Option("--out", metavar="FILE", help="With --compare: as a page, too.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw the report of a run again from what it saved."""
    console = make_console(as_json)
    if compare and digit is not None:
        raise TenfoldError(
            f"--digit {digit}: is followed in one run's report, expected no --compare"
        )
    if out is not None and not compare:
        raise TenfoldError(f"--out {out}: is the page of --compare, expected both or neither")
    if compare:
        _compare(runs, out, console, as_json=as_json)
        return
    from tenfold.report.run_report import write_report

    pages = [write_report(run, digit=digit, note=make_logger(console)) for run in runs]
    for page in pages:
        say(console, f"the report is {page}")
    if as_json:
        print_json({"reports": [str(page) for page in pages]})


def _compare(runs: list[Path], out: Path | None, console: "Console", *, as_json: bool) -> None:
    """Print runs side by side, and write them as a page if one is wanted."""
    from rich.markup import escape
    from rich.table import Table

    from tenfold.report.artifacts import RunArtifacts
    from tenfold.report.run_comparison import side_by_side, write_comparison

    found = side_by_side([RunArtifacts.read(run) for run in runs])
    if out is not None:
        write_comparison(found, out)
    if as_json:
        print_json(found.to_json())
        return
    section = found.section()
    for sentence in section.paragraphs:
        say(console, sentence)
    for content in section.tables:
        table = Table(*content.header, box=None, pad_edge=False, title=content.caption)
        for row in content.rows:
            table.add_row(*map(escape, row))
        console.print(table)
    if out is not None:
        say(console, f"the page is {out}")


@app.command("recipes")
def recipes_command(
    show: Annotated[
        str | None, Option("--show", metavar="NAME", help="Layers, shapes and arithmetic.")
    ] = None,
) -> None:
    """List the recipes, or show one with its network."""
    console = make_console()
    from tenfold.recipe import Recipe, list_recipes

    if show is None:
        for name in list_recipes():
            recipe = Recipe.load(name)
            say(console, f"{name:12} {recipe.description}")
            if recipe.benchmark:
                say(console, f"{'':12} measured: {recipe.benchmark}")
        return
    _show_recipe(Recipe.load(show), console)


def _show_recipe(recipe: "Recipe", console: "Console") -> None:
    """Print the choices and a table of the network's layers."""
    from rich.table import Table

    from tenfold.networks import build
    from tenfold.networks.layers import summarize

    size = recipe.preprocessing.size or 28
    layers = summarize(build(recipe.network, image_size=size, n_classes=10, seed=0), size)
    table = Table("layer", "kind", "output", box=None, pad_edge=False)
    table.add_column("parameters", justify="right")
    table.add_column("multiply-adds", justify="right")
    for layer in layers:
        shape = " × ".join(map(str, layer.shape))
        numbers = (layer.parameters, layer.multiply_adds)
        counts = (f"{number:,}" if number else "" for number in numbers)
        table.add_row(layer.name, layer.kind, shape, *counts)
    console.print(recipe.to_toml(), highlight=False, markup=False, soft_wrap=True)
    console.print(table)
    say(
        console,
        f"\n{sum(layer.parameters for layer in layers):,} parameters, "
        f"{sum(layer.multiply_adds for layer in layers):,} multiply-adds "
        f"for one {size} × {size} image",
    )

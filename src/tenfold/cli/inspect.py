"""The commands that show things: check, data, report and recipes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from tenfold.cli.common import (
    InvertOption,
    JsonOption,
    LabelOption,
    TrainFile,
    TransposeOption,
    app,
    make_console,
    print_json,
    print_line,
    read_images,
    read_options,
)
from tenfold.errors import TenfoldError

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.recipe import Recipe


@app.command("check")
def check_command(
    train: TrainFile,
    test: Annotated[Path | None, Argument(metavar="TEST", help="Images to predict.")] = None,
    out: Annotated[
        Path | None, Option("--out", metavar="DIR", help="Save figures into it, too.")
    ] = None,
    label: LabelOption = None,
    invert: InvertOption = False,
    transpose: TransposeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Report what is wrong or odd in the data, and overlap of the two files.

    A test file may stand alone.
    """
    console = make_console(as_json)
    from tenfold.data import check

    options = read_options(label, invert, transpose)
    train_set = read_images(train, labels=None if test is None else True, options=options)
    test_set = None if test is None else read_images(test, labels=False, options=options)
    report = check(train_set, test_set)
    if as_json:
        print_json(report.to_json())
    else:
        for line in report.lines():
            print_line(console, line)
    if out is not None:
        from tenfold.files import output_folder
        from tenfold.report import figures

        folder, labels, classes = output_folder(out), train_set.require_labels(), train_set.classes
        title = f"Images of each class: {train_set.name}"
        balance = figures.class_balance(train_set.class_counts(), None, title)
        figures.save(balance, folder / "classes.png")
        sheet = figures.sample_sheet(train_set.images, labels, classes)
        figures.save(sheet, folder / "samples.png")
        print_line(console, f"figures: {folder}")


@app.command("data")
def data_command(
    name: Annotated[str, Argument(metavar="NAME", help="Only mnist so far.")],
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
        raise TenfoldError(f"--seed {seed}: MNIST's own split has no seed, expected no --canonical")
    from tenfold.data import kaggle_split, load, write_kaggle_folder

    both = load(name)
    train, test = both if canonical else kaggle_split(*both, seed or 0)
    write_kaggle_folder(kaggle, train, test)
    print_line(
        console,
        f"{len(train):,} labelled digits in {kaggle / 'train.csv'}, "
        f"{len(test):,} to predict in {kaggle / 'test.csv'}, their labels in truth.csv",
    )


@app.command("report")
def report_command(
    runs: Annotated[list[Path], Argument(metavar="RUN", help="Run folders.")],
    digit: Annotated[
        str | None,
        Option("--digit", metavar="CLASS", help="Show the feature maps of an image of this class."),
    ] = None,
    compare: Annotated[bool, Option("--compare", help="Compare several runs.")] = False,
    out: Annotated[
        Path | None,
        Option("--out", metavar="FILE", help="With --compare: write it as a page, too."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the report of a run again from what it saved, or compare runs."""
    console = make_console(as_json)
    if compare and digit is not None:
        raise TenfoldError(
            f"--digit {digit}: belongs to the report of one run, expected no --compare"
        )
    if out is not None and not compare:
        raise TenfoldError(f"--out {out}: is the page of --compare, expected both or neither")
    if compare:
        _compare(runs, out, console, as_json=as_json)
        return
    from tenfold.report.run_report import write_report

    pages = [write_report(run, digit=digit) for run in runs]
    for page in pages:
        print_line(console, f"report: {page}")
    if as_json:
        print_json({"reports": [str(page) for page in pages]})


def _compare(runs: list[Path], out: Path | None, console: "Console", *, as_json: bool) -> None:
    """Print a comparison of runs, and write it as a page if one is wanted."""
    from rich.markup import escape
    from rich.table import Table

    from tenfold.report.artifacts import RunArtifacts
    from tenfold.report.run_comparison import compare_runs, write_comparison

    found = compare_runs([RunArtifacts.read(run) for run in runs])
    if out is not None:
        write_comparison(found, out)
    if as_json:
        print_json(found.to_json())
        return
    section = found.section()
    for sentence in section.paragraphs:
        print_line(console, sentence)
    for content in section.tables:
        table = Table(*content.header, box=None, pad_edge=False, title=content.caption)
        for row in content.rows:
            table.add_row(*map(escape, row))
        console.print(table)
    if out is not None:
        print_line(console, f"report: {out}")


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
            print_line(console, f"{name:12} {recipe.description}")
            if recipe.benchmark:
                print_line(console, f"{'':12} measured: {recipe.benchmark}")
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
    print_line(
        console,
        f"\n{sum(layer.parameters for layer in layers):,} parameters, "
        f"{sum(layer.multiply_adds for layer in layers):,} multiply-adds "
        f"for one {size} × {size} image",
    )

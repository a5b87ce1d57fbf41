"""The page that tells of a comparison of methods, drawn from the compare.json in its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tenfold.files import output_folder, write_text
from tenfold.report import figures
from tenfold.report.figures.compare import Placed
from tenfold.report.metrics import SIGNIFICANT, holm
from tenfold.report.page import render
from tenfold.report.section import Section, Table
from tenfold.wording import counted


def write_compare_page(told: Mapping[str, Any], page: Path, pictures: Path) -> None:
    """Write the page of a finished comparison, and its picture as PNG beside it.

    Args:
        told: what compare.json holds.
        page: the file to write.
        pictures: the folder of its pictures.
    """
    count, folds = len(told["methods"]), told["identity"]["folds"]
    title = f"{counted(count, 'method')} on the same digits"
    subtitle = (
        f"{told['images']:,} labelled images in {folds} folds, each held out in turn: learned from "
        f"{told['learned']:,}, judged on the rest."
    )
    sections = [_answer(told), *([_pairs(told)] if told["pairs"] else [])]
    write_text(page, render(title, subtitle, sections, output_folder(pictures)))


def _answer(told: Mapping[str, Any]) -> Section:
    section = Section("answer", "Which is best, and at what price?")
    able = [method for method in told["methods"] if "accuracy" in method]
    failed = [method for method in told["methods"] if "accuracy" not in method]
    best = able[0]
    section.say(
        f"{best['method']} reads most: {best['accuracy']:.4f}, after {best['fit_s']:,.1f} s of "
        f"training on {told['place']}."
    )
    for method in able:
        if method["part"] < 1:
            section.say(
                f"{method['method']} learned from only {method['images_learned']:,} of "
                f"{told['learned']:,} images, to stay within the budget."
            )
    placed = [
        Placed(
            method["method"],
            method["fit_s"] + 10 * method["predict_s_per_1000"],  # some only begin when asked
            1 - method["accuracy"],
            (1 - method["interval"][1], 1 - method["interval"][0]),
            method["part"] < 1,
        )
        for method in able
    ]
    shows = "Wrong answers of each method against its seconds of training and answering"
    section.draw("methods", shows, figures.methods(placed, told["images"], told["place"]))
    section.tables.append(_table(able, told["place"]))
    if failed:
        rows = [(method["method"], method["reason"]) for method in failed]
        section.tables.append(Table("Methods that failed", ("method", "why"), rows))
    return section


def _table(able: Sequence[Mapping[str, Any]], place: str) -> Table:
    header = (
        "method", "accuracy", "95 % interval", "images learned", "training, s",
        "1,000 answers, s", "size", "peak memory",
    )  # fmt: skip
    rows = [
        (
            method["method"],
            f"{method['accuracy']:.4f}",
            "{:.4f}–{:.4f}".format(*method["interval"]),
            f"{method['images_learned']:,}",
            f"{method['fit_s']:,.1f}",
            f"{method['predict_s_per_1000']:.3g}",
            _size(method["bytes"]),
            f"{method['peak_bytes'] / 2**20:,.0f} MiB",
        )
        for method in able
    ]
    return Table(f"Each fit on {place}; means over the folds", header, rows)


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"


def _pairs(told: Mapping[str, Any]) -> Section:
    section = Section("pairs", "Which pairs truly differ?")
    pairs = told["pairs"]
    adjusted = holm([pair["p"] for pair in pairs])
    equal = [(pair, p) for pair, p in zip(pairs, adjusted, strict=True) if p >= SIGNIFICANT]
    section.say(
        f"Every method judged every image once, so each two are compared by McNemar's exact test "
        f"on the images that only one of them reads. Of {counted(len(pairs), 'pair')}, "
        f"{len(pairs) - len(equal)} differ; p is adjusted for their number (Holm 1979)."
    )
    if equal:
        rows = [
            (
                " and ".join(pair["methods"]),
                f"{pair['first']:,}",
                f"{pair['second']:,}",
                f"{p:.2g}",
            )
            for pair, p in equal
        ]
        header = ("methods", "only first right", "only second right", "adjusted p")
        section.tables.append(Table("Pairs that may be equally good", header, rows))
    return section

"""The page that tells of a comparison of methods, drawn from the compare.json in its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tenfold.files import output_folder, write_text
from tenfold.formatting import format_value, pluralize
from tenfold.metrics import SIGNIFICANT, holm
from tenfold.report import figures
from tenfold.report.figures.experiments import Axis, MethodPoint, TrialPoint
from tenfold.report.html import Section, Table, render


def write_compare_page(told: Mapping[str, Any], page: Path, pictures: Path) -> None:
    """Write the page of a finished comparison, and its picture as PNG beside it.

    Args:
        told: what compare.json holds.
        page: the file to write.
        pictures: the folder of its pictures.
    """
    count, folds = len(told["methods"]), told["identity"]["folds"]
    title = f"{pluralize(count, 'method')} on the same digits"
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
    section.add_text(
        f"{best['method']} reads most: {best['accuracy']:.4f}, after {best['fit_s']:,.1f} s of "
        f"training on {told['place']}."
    )
    for method in able:
        if method["part"] < 1:
            section.add_text(
                f"{method['method']} learned from only {method['images_learned']:,} of "
                f"{told['learned']:,} images, to stay within the budget."
            )
    placed = [
        MethodPoint(
            method["method"],
            method["fit_s"] + 10 * method["predict_s_per_1000"],  # some only begin when asked
            1 - method["accuracy"],
            (1 - method["interval"][1], 1 - method["interval"][0]),
            method["part"] < 1,
        )
        for method in able
    ]
    shows = "Wrong answers of each method against its seconds of training and answering"
    section.add_figure("methods", shows, figures.methods(placed, told["images"], told["place"]))
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
    section.add_text(
        f"Every method judged every image once, so each two are compared by McNemar's exact test "
        f"on the images that only one of them reads. Of {pluralize(len(pairs), 'pair')}, "
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


MOST_ROWS = 15


def write_search_page(told: Mapping[str, Any], page: Path, pictures: Path) -> None:
    """Write the page of a finished search, and its pictures as PNG beside it.

    Args:
        told: what search.json holds.
        page: the file to write.
        pictures: the folder of its pictures.
    """
    trials = [_tried(trial) for trial in told["trials"] if trial["reached"]]
    axes = [
        Axis(place, kind, values)
        for place, (kind, values, _whole) in told["identity"]["space"].items()
    ]
    winner = next(trial for trial in trials if trial.number == told["winner"])
    sections = [
        _search_summary(told, winner),
        _course(told, trials, winner),
        _choices(told, trials, axes, winner),
    ]
    title = f"A search from {told['start']}"
    subtitle = f"{pluralize(len(told['trials']), 'trial')} by {told['identity']['sampler']} search."
    write_text(page, render(title, subtitle, sections, output_folder(pictures)))


def _tried(trial: Mapping[str, Any]) -> TrialPoint:
    reached = {one["share"]: one["correct"] / one["n"] for one in trial["reached"]}
    return TrialPoint(trial["number"], reached, trial["values"])


def _search_summary(told: Mapping[str, Any], winner: TrialPoint) -> Section:
    section = Section("answer", "Is the winner better?")
    verdict = told["verdict"]
    if verdict is None:
        section.add_text(
            f"Trial {winner.number} won with {winner.last[1]:.4f}. Whether it is better than the "
            f"start or was lucky is not known: {told['doubt']}."
        )
    else:
        sentence = verdict["sentence"]
        section.add_text(f"{sentence[0].upper()}{sentence[1:]}.")
        luck = "seeds and of images" if len(verdict["start"]) > 1 else "images, not that of seeds"
        section.add_text(
            f"Images set aside took no part in the search. The interval holds the luck of {luck}; "
            "the score that won the race does not count here: the best of many is always flattered."
        )
        rows = [
            (who, *(f"{accuracy:.4f}" for accuracy in verdict[who])) for who in ("start", "winner")
        ]
        seeds = [f"seed {seed}" for seed in range(len(verdict["start"]))]
        section.tables.append(Table("Accuracy on the images set aside", ("", *seeds), rows))
    rows = [(place, format_value(value)) for place, value in winner.values.items()]
    section.tables.append(Table("What the winner chose", ("choice", "value"), rows))
    return section


def _course(told: Mapping[str, Any], trials: Sequence[TrialPoint], winner: TrialPoint) -> Section:
    section = Section("course", "How the trials went")
    states = [trial["state"] for trial in told["trials"]]
    ended = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    section.add_text(
        f"Of {pluralize(len(states), 'trial')}: {ended}. All begin cheap, the best third goes on."
    )
    shares = sorted({share for trial in trials for share in trial.reached})
    shows = "Accuracy of each trial on each rung"
    section.add_figure("history", shows, figures.search_history(trials, winner))
    ranked = sorted(trials, key=lambda one: (one.last, one is winner), reverse=True)
    states_of = {trial["number"]: trial["state"] for trial in told["trials"]}
    rows = [
        (str(one.number), states_of[one.number], *(_accuracy(one, share) for share in shares))
        for one in ranked[:MOST_ROWS]
    ]
    header = ("trial", "state", *(f"at {share:.0%}" for share in shares))
    caption = "The best trials: accuracy at shares of a whole training"
    section.tables.append(Table(caption, header, rows))
    failed = {trial["number"]: trial["reason"] for trial in told["trials"] if trial["reason"]}
    if failed:
        rows = [(str(number), reason) for number, reason in failed.items()]
        section.tables.append(Table("Trials that failed", ("trial", "why"), rows))
    return section


def _choices(
    told: Mapping[str, Any], trials: Sequence[TrialPoint], axes: Sequence[Axis], winner: TrialPoint
) -> Section:
    section = Section("choices", "What the choices did")
    if told["importance"]:
        section.add_text(
            "With few trials, small shares are noise: read the first one or two, and look at the "
            "dots below before you believe them."
        )
        shows = "How much each choice explains of the differences between trials"
        section.add_figure("importance", shows, figures.search_importance(told["importance"]))
    else:
        section.add_text("There are too few trials to say which choice mattered most.")
    if len(axes) > 1:
        shows = "Each trial as a line across its choices"
        section.add_figure("coordinates", shows, figures.search_coordinates(trials, axes, winner))
    shows = "Accuracy on the first rung against each choice"
    section.add_figure("slices", shows, figures.search_slices(trials, axes))
    return section


def _accuracy(trial: TrialPoint, share: float) -> str:
    return f"{trial.reached[share]:.4f}" if share in trial.reached else ""

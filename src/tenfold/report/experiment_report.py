"""The reports of a search and of a comparison, from search.json and compare.json."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tenfold.files import output_folder, write_text
from tenfold.formatting import format_value, pluralize
from tenfold.metrics import SIGNIFICANT, holm
from tenfold.report import figures
from tenfold.report.figures.experiments import Axis, MethodPoint, TrialPoint
from tenfold.report.html import Section, render

MAX_TRIAL_ROWS = 15
MIN_TRIALS_FOR_PARAMETERS = 20  # the parameters of fewer trials show nothing but noise
FEW_SEEDS = 3


def write_compare_page(data: Mapping[str, Any], page: Path, figures_folder: Path) -> None:
    """Write the report of a finished comparison, and its figure as PNG.

    Args:
        data: the content of compare.json.
        page: the HTML file to write.
        figures_folder: the folder of the figure.
    """
    folds = data["identity"]["folds"]
    title = f"{pluralize(len(data['methods']), 'method')} on the same digits"
    subtitle = (
        f"{data['images']:,} labelled images in {folds} folds, each held out in turn: trained on "
        f"{data['train_images']:,}, evaluated on the rest."
    )
    sections = [_comparison_summary(data), *([_paired_tests(data)] if data["pairs"] else [])]
    write_text(page, render(title, subtitle, sections, output_folder(figures_folder)))


def _comparison_summary(data: Mapping[str, Any]) -> Section:
    section = Section(
        "summary", "Which method is most accurate, and at what cost?", "A first network"
    )
    fitted = [method for method in data["methods"] if "accuracy" in method]
    failed = [method for method in data["methods"] if "accuracy" not in method]
    best = fitted[0]
    section.add_text(
        f"{best['method']} is most accurate: {best['accuracy']:.2%}, after "
        f"{_format_seconds(best['fit_s'])} s of training on {data['hardware']}."
    )
    for method in fitted:
        if method["subset_fraction"] < 1:
            section.add_text(
                f"{method['method']} was trained on only {method['train_images']:,} of "
                f"{data['train_images']:,} images, to stay within the time budget."
            )
    points = [
        MethodPoint(
            method["method"],
            method["fit_s"] + 10 * method["predict_s_per_1000"],  # some do all work in predict
            1 - method["accuracy"],
            (1 - method["interval"][1], 1 - method["interval"][0]),
            method["subset_fraction"] < 1,
        )
        for method in fitted
    ]
    alt_text = "Error of each method against its seconds of training and prediction"
    figure = figures.method_comparison(points, data["images"], data["hardware"])
    section.add_figure("methods", alt_text, figure)
    _add_method_table(section, fitted, data["hardware"])
    if failed:
        rows = [(method["method"], method["reason"]) for method in failed]
        section.add_table("Methods that failed", ("method", "reason"), rows)
    return section


def _add_method_table(section: Section, fitted: Sequence[Mapping[str, Any]], hardware: str) -> None:
    header = (
        "method", "accuracy", "95% interval", "training images", "training, s",
        "1,000 predictions, s", "model size", "peak memory",
    )  # fmt: skip
    rows = [
        (
            method["method"],
            f"{method['accuracy']:.4f}",
            "{:.4f}–{:.4f}".format(*method["interval"]),
            f"{method['train_images']:,}",
            _format_seconds(method["fit_s"]),
            _format_seconds(method["predict_s_per_1000"]),
            _format_bytes(method["model_bytes"]),
            f"{method['peak_memory_bytes'] / 2**20:,.0f} MiB",
        )
        for method in fitted
    ]
    section.add_table(f"Each fit on {hardware}; means over the folds", header, rows)


def _format_seconds(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.2g}"


def _format_bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"


def _paired_tests(data: Mapping[str, Any]) -> Section:
    section = Section("pairs", "Which differences are significant?", "Augmentation")
    pairs = data["pairs"]
    adjusted = holm([pair["p"] for pair in pairs])
    equal = [(pair, p) for pair, p in zip(pairs, adjusted, strict=True) if p >= SIGNIFICANT]
    section.add_text(
        "Every method predicted every image once, so each two are compared by McNemar's exact test "
        f"on the images that only one of them has correct. Of {pluralize(len(pairs), 'pair')}, "
        f"{len(pairs) - len(equal)} differ significantly; p is adjusted for the number of tests "
        "(Holm 1979)."
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
        header = ("methods", "only first correct", "only second correct", "adjusted p")
        section.add_table("Pairs without a significant difference", header, rows)
    return section


def write_search_page(data: Mapping[str, Any], page: Path, figures_folder: Path) -> None:
    """Write the report of a finished search, and its figures as PNG.

    Args:
        data: the content of search.json.
        page: the HTML file to write.
        figures_folder: the folder of the figures.
    """
    trials = [
        TrialPoint(
            trial["number"],
            {each["budget_fraction"]: each["correct"] / each["n"] for each in trial["results"]},
            trial["params"],
        )
        for trial in data["trials"]
        if trial["results"]
    ]
    axes = [
        Axis(param_name, dimension["kind"], dimension["values"])
        for param_name, dimension in data["identity"]["space"].items()
    ]
    winner = next(trial for trial in trials if trial.number == data["winner"])
    sections = [
        _search_summary(data, winner),
        _trials_section(data, trials, winner),
        _params_section(data, trials, axes, winner),
    ]
    title = f"A search from {data['baseline']}"
    sampler = data["identity"]["sampler"]
    subtitle = f"{pluralize(len(data['trials']), 'trial')} by {sampler} search."
    write_text(page, render(title, subtitle, sections, output_folder(figures_folder)))


def _search_summary(data: Mapping[str, Any], winner: TrialPoint) -> Section:
    section = Section("summary", "Is the winner better than the baseline?", "Searching")
    test = data["paired_test"]
    if test is None:
        section.add_text(
            f"Trial {winner.number} won with {winner.last[1]:.4f}. Whether it is better than the "
            f"baseline is not known: {data['no_test_reason']}."
        )
    else:
        summary, seeds = test["summary"], len(test["baseline"])
        section.add_text(f"{summary[0].upper()}{summary[1:]}.")
        if seeds < FEW_SEEDS:
            are = "is" if seeds == 1 else "are"
            section.add_text(
                f"{pluralize(seeds, 'seed')} {are} too few to show a small difference: repeat the "
                "test with --seeds 5."
            )
        sources = "seeds and of images" if seeds > 1 else "images, not that of seeds"
        section.add_text(
            f"The test images took no part in the search. The interval covers the variance of "
            f"{sources}. The winner's score in the search is not used here: the best of many "
            "scores is biased upwards."
        )
        rows = [
            (which, *(f"{accuracy:.4f}" for accuracy in test[which]))
            for which in ("baseline", "winner")
        ]
        header = ("", *(f"seed {seed}" for seed in range(seeds)))
        section.add_table("Accuracy on the test images", header, rows)
    rows = [(param_name, format_value(value)) for param_name, value in winner.params.items()]
    section.add_table("Parameters of the winner", ("parameter", "value"), rows)
    return section


def _trials_section(
    data: Mapping[str, Any], trials: Sequence[TrialPoint], winner: TrialPoint
) -> Section:
    section = Section("course", "All trials", "Searching")
    state_of = {trial["number"]: trial["state"] for trial in data["trials"]}
    states = list(state_of.values())
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    section.add_text(
        f"Of {pluralize(len(states), 'trial')}: {counts}. All start on a small budget, and the "
        "best third of each rung is promoted to the next (successive halving)."
    )
    alt_text = "Accuracy of each trial on each rung"
    section.add_figure("history", alt_text, figures.search_history(trials, winner))
    budgets = sorted({budget for trial in trials for budget in trial.accuracies})
    ranked = sorted(trials, key=lambda trial: (trial.last, trial is winner), reverse=True)
    rows = [
        (
            str(trial.number),
            state_of[trial.number],
            *(_accuracy(trial, budget) for budget in budgets),
        )
        for trial in ranked[:MAX_TRIAL_ROWS]
    ]
    header = ("trial", "state", *(f"{budget:.0%} budget" for budget in budgets))
    caption = "The best trials: accuracy by fraction of a full training"
    section.add_table(caption, header, rows)
    failed = [
        (str(trial["number"]), trial["reason"]) for trial in data["trials"] if trial["reason"]
    ]
    if failed:
        section.add_table("Trials that failed", ("trial", "reason"), failed)
    return section


def _accuracy(trial: TrialPoint, budget: float) -> str:
    return f"{trial.accuracies[budget]:.4f}" if budget in trial.accuracies else ""


def _params_section(
    data: Mapping[str, Any], trials: Sequence[TrialPoint], axes: Sequence[Axis], winner: TrialPoint
) -> Section:
    section = Section("choices", "Effect of the parameters", chapter="Searching")
    if len(trials) < MIN_TRIALS_FOR_PARAMETERS:
        section.add_text(
            f"{pluralize(len(trials), 'trial')} are too few to tell which parameter matters most. "
            f"From {MIN_TRIALS_FOR_PARAMETERS} on this section shows the effect of each."
        )
        return section
    if data["importance"]:
        section.add_text(
            "With few trials, small importances are noise: trust the first one or two, and compare "
            "them with the scatter plots below."
        )
        alt_text = "How much of the variance between trials each parameter explains"
        section.add_figure("importance", alt_text, figures.search_importance(data["importance"]))
    else:
        section.add_text("There are too few trials to tell which parameter matters most.")
    if len(axes) > 1:
        alt_text = "Each trial as a line across its parameters"
        section.add_figure(
            "coordinates", alt_text, figures.search_coordinates(trials, axes, winner)
        )
    alt_text = "Accuracy on the first rung against each parameter"
    section.add_figure("slices", alt_text, figures.search_slices(trials, axes))
    return section

"""The page that tells of a search, drawn from the search.json in its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tenfold.files import output_folder, write_text
from tenfold.report import figures
from tenfold.report.figures.search import Axis, Tried
from tenfold.report.page import render
from tenfold.report.section import Section, Table
from tenfold.wording import counted, spelled

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
        _answer(told, winner),
        _course(told, trials, winner),
        _choices(told, trials, axes, winner),
    ]
    title = f"A search from {told['start']}"
    subtitle = f"{counted(len(told['trials']), 'trial')} by {told['identity']['sampler']} search."
    write_text(page, render(title, subtitle, sections, output_folder(pictures)))


def _tried(trial: Mapping[str, Any]) -> Tried:
    reached = {one["share"]: one["correct"] / one["n"] for one in trial["reached"]}
    return Tried(trial["number"], reached, trial["values"])


def _answer(told: Mapping[str, Any], winner: Tried) -> Section:
    section = Section("answer", "Is the winner better?")
    verdict = told["verdict"]
    if verdict is None:
        section.say(
            f"Trial {winner.number} won with {winner.last[1]:.4f}. Whether it is better than the "
            f"start or was lucky is not known: {told['doubt']}."
        )
    else:
        sentence = verdict["sentence"]
        section.say(f"{sentence[0].upper()}{sentence[1:]}.")
        luck = "seeds and of images" if len(verdict["start"]) > 1 else "images, not that of seeds"
        section.say(
            f"Images set aside took no part in the search. The interval holds the luck of {luck}; "
            "the score that won the race does not count here: the best of many is always flattered."
        )
        rows = [
            (who, *(f"{accuracy:.4f}" for accuracy in verdict[who])) for who in ("start", "winner")
        ]
        seeds = [f"seed {seed}" for seed in range(len(verdict["start"]))]
        section.tables.append(Table("Accuracy on the images set aside", ("", *seeds), rows))
    rows = [(place, spelled(value)) for place, value in winner.values.items()]
    section.tables.append(Table("What the winner chose", ("choice", "value"), rows))
    return section


def _course(told: Mapping[str, Any], trials: Sequence[Tried], winner: Tried) -> Section:
    section = Section("course", "How the trials went")
    states = [trial["state"] for trial in told["trials"]]
    ended = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    section.say(
        f"Of {counted(len(states), 'trial')}: {ended}. All begin cheap, the best third goes on."
    )
    shares = sorted({share for trial in trials for share in trial.reached})
    shows = "Accuracy of each trial on each rung"
    section.draw("history", shows, figures.search_history(trials, winner))
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
    told: Mapping[str, Any], trials: Sequence[Tried], axes: Sequence[Axis], winner: Tried
) -> Section:
    section = Section("choices", "What the choices did")
    if told["importance"]:
        section.say(
            "With few trials, small shares are noise: read the first one or two, and look at the "
            "dots below before you believe them."
        )
        shows = "How much each choice explains of the differences between trials"
        section.draw("importance", shows, figures.search_importance(told["importance"]))
    else:
        section.say("There are too few trials to say which choice mattered most.")
    if len(axes) > 1:
        shows = "Each trial as a line across its choices"
        section.draw("coordinates", shows, figures.search_coordinates(trials, axes, winner))
    shows = "Accuracy on the first rung against each choice"
    section.draw("slices", shows, figures.search_slices(trials, axes))
    return section


def _accuracy(trial: Tried, share: float) -> str:
    return f"{trial.reached[share]:.4f}" if share in trial.reached else ""

"""What a search keeps of its trials: a table for people, and JSON for its page."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.experiments.folder import ExperimentFolder, write_table
from tenfold.experiments.race import Entry
from tenfold.experiments.space import Dimension, values_of
from tenfold.files import write_json
from tenfold.wording import spelled

COLUMNS = ("trial", "state", "share", "accuracy", "n", "loss", "train_s", "reason")


def write_record(
    folder: ExperimentFolder,
    dimensions: Sequence[Dimension],
    entries: Sequence[Entry],
    about: Mapping[str, Any],
) -> None:
    """Write search.csv, a row for each trial, and search.json, the same with `about`."""
    places = [each.place for each in dimensions]
    rows = [
        [*_facts(entry), *map(spelled, values_of(entry.drawn, dimensions).values())]
        for entry in entries
    ]
    write_table(folder.table, [*COLUMNS, *places], rows)
    write_json(
        folder.settings, {**about, "trials": [_told(entry, dimensions) for entry in entries]}
    )


def _facts(entry: Entry) -> list[Any]:
    """Return what `COLUMNS` name; share, accuracy, images and loss are those of the last rung."""
    last = entry.reached[-1] if entry.reached else None
    scored = [None] * 4 if last is None else [last.share, last.accuracy, last.n, last.loss]
    train_s = sum(each.train_s for each in entry.reached)
    return [entry.number, entry.state, *scored, train_s, entry.reason]


def _told(entry: Entry, dimensions: Sequence[Dimension]) -> dict[str, Any]:
    return {
        "number": entry.number,
        "state": entry.state,
        "reason": entry.reason,
        "reached": [vars(each) for each in entry.reached],
        "values": values_of(entry.drawn, dimensions),
    }

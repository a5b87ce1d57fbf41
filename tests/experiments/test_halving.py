"""Races of made-up trials: who goes on, and how long each may run."""

from tenfold.experiments.halving import Entry, RungResult, promoted, race, rungs
from tenfold.recipe import Recipe


def entries_of(count):
    return [Entry(number, {}, Recipe.load("quick")) for number in range(count)]


def reaching(accuracies):
    def run(rung, _index, alive):
        for entry in alive:
            accuracy = accuracies[entry.number]
            if accuracy is None:
                entry.state = "failed"
            else:
                reached = RungResult(rung.share, round(1000 * accuracy), 1000, 1 - accuracy, 1.0)
                entry.reached.append(reached)

    return run


def test_there_are_three_rungs_each_three_times_dearer_and_fewer_for_a_handful():
    assert [rung.share for rung in rungs(30)] == [1 / 9, 1 / 3, 1]
    assert [rung.share for rung in rungs(9)] == [1 / 9, 1 / 3, 1]
    assert [rung.share for rung in rungs(8)] == [1 / 3, 1]
    assert [rung.share for rung in rungs(2)] == [1]
    assert [rung.last for rung in rungs(30)] == [False, False, True]


def test_a_rung_costs_its_share_whatever_the_whole_epochs_make_of_it():
    for epochs in (1, 2, 3, 6, 10, 24, 100):
        recipe = Recipe.load("quick").with_overrides({"training": {"max_epochs": epochs}})
        for rung in rungs(30):
            cut, part = rung.cut(recipe)
            cost = cut.training.max_epochs * part / epochs
            assert part <= 1
            assert abs(cost - rung.share) < 1e-9 or (part == 1 and cost <= rung.share + 1e-9)


def test_the_best_third_goes_on_and_everybody_is_closed_once():
    entries, closed = entries_of(9), []
    race(entries, rungs(9), reaching([n / 10 for n in range(9)]), closed.append)
    assert [len(entry.reached) for entry in entries] == [1, 1, 1, 1, 1, 1, 2, 2, 3]
    assert [entry.state for entry in entries] == ["stopped early"] * 8 + ["complete"]
    assert sorted(entry.number for entry in closed) == list(range(9))
    assert min(entries, key=Entry.rank).number == 8


def test_failures_take_no_place():
    entries, closed = entries_of(9), []
    race(entries, rungs(9), reaching([None, None, None, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
         closed.append)  # fmt: skip
    assert [entry.state for entry in entries[:3]] == ["failed"] * 3
    assert sum(len(entry.reached) > 1 for entry in entries) == 2
    assert len(closed) == 9


def test_equals_are_told_apart_by_loss_then_by_number():
    entries = entries_of(3)
    for entry, loss in zip(entries, (0.2, 0.1, 0.1), strict=True):
        entry.reached.append(RungResult(1.0, 9, 10, loss, 1.0))
    assert [entry.number for entry in sorted(entries, key=Entry.rank)] == [1, 2, 0]
    assert [entry.number for entry in promoted(entries)] == [1]


def test_all_failing_ends_the_race():
    entries = entries_of(9)
    race(entries, rungs(9), reaching([None] * 9), lambda _entry: None)
    assert {entry.state for entry in entries} == {"failed"}


def test_a_trial_of_a_short_race_wins_by_accuracy():
    """One that ran a third and then the whole is no worse than one that began with a ninth."""
    long, short = entries_of(9), entries_of(3)
    for number, entry in enumerate(short):
        entry.number = 9 + number
    race(long, rungs(9), reaching([n / 10 for n in range(9)]), lambda _entry: None)
    race(short, rungs(3), reaching([0] * 9 + [0.1, 0.2, 0.9]), lambda _entry: None)
    assert [len(entry.reached) for entry in short] == [1, 1, 2]
    assert [rung.step for rung in rungs(3)] == [3, 9]
    assert min([*long, *short], key=Entry.rank).number == 11

from pathlib import Path

import pytest

from tenfold.errors import DataError
from tenfold.metrics import wilson_interval
from tenfold.report.leaderboard import best, entries, plausible_max, standing


def test_known_scores_are_in_order_and_say_where_they_are_from():
    scores = [entry.score for entry in entries()]
    assert scores == sorted(scores, reverse=True)
    assert {entry.source for entry in entries()} == {"published", "ours"}
    assert best().score == 0.99757


def test_a_score_stands_between_those_above_and_below():
    found = standing(0.9951)
    assert min(entry.score for entry in found.above) > 0.9951
    assert max(entry.score for entry in found.below) <= 0.9951
    assert len(found.above) + len(found.below) == len(entries())
    assert "stands below 0.99532" in found.sentence()
    assert "inside its 95 % interval, and at or above 0.995 (G. Surma" in found.sentence()
    assert "inside" not in standing(0.99).sentence()


def test_what_honest_training_has_not_shown_is_told_so():
    # Kaggle's board counted a quarter of the answers then.
    assert plausible_max() == wilson_interval(6_983, 7_000)[1]
    assert "beyond what honest training has shown" in standing(0.9999).sentence()
    assert "not below any honest score" in standing(0.9979).sentence()


def test_the_lowest_of_all_has_nothing_below():
    assert standing(0.1).below == ()
    assert standing(0.1).sentence().startswith("0.1 stands below 0.82 (a logbook's MLP")
    assert standing(0.815).sentence().endswith("but inside its 95 % interval")


@pytest.mark.parametrize("score", [-0.1, 99.6, float("nan")])
def test_what_is_no_accuracy_is_a_sentence(score):
    with pytest.raises(DataError, match="expected an accuracy from 0 to 1"):
        standing(score)


def test_the_table_in_the_docs_is_the_one_that_is_used():
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text("utf-8")
    for entry in entries():
        low, high = entry.interval
        row = f"| {entry.score:g} | {low:.4f}–{high:.4f} | {entry.who} | {entry.source} |\n"
        assert row in page
    assert f"Above {plausible_max():.5f}" in page

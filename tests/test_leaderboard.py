"""The position of a score among those known."""

from pathlib import Path

import pytest

from tenfold.errors import DataError
from tenfold.kaggle import (
    best_published,
    leaderboard_entries,
    leaderboard_position,
    plausible_max,
)
from tenfold.metrics import wilson_interval


def test_known_scores_are_sorted_and_have_a_source():
    scores = [entry.score for entry in leaderboard_entries()]
    assert scores == sorted(scores, reverse=True)
    assert {entry.source for entry in leaderboard_entries()} == {"published", "ours"}
    assert best_published().score == 0.99757


def test_a_score_is_placed_between_those_above_and_below():
    found = leaderboard_position(0.9951)
    assert min(entry.score for entry in found.above) > 0.9951
    assert max(entry.score for entry in found.below) <= 0.9951
    assert len(found.above) + len(found.below) == len(leaderboard_entries())
    assert found.summary().startswith("0.9951 is below 0.99532 (recipe deotte")
    assert "inside its 95% interval, and at or above 0.995 (G. Surma" in found.summary()
    assert "inside" not in leaderboard_position(0.99).summary()


def test_a_score_only_explained_by_leakage_is_called_out():
    # Kaggle's leaderboard counted a quarter of the predictions then.
    assert plausible_max() == wilson_interval(6_983, 7_000)[1]
    above_all = leaderboard_position(0.9999).summary()
    assert "above what is known to be possible without test-label leakage" in above_all
    best = leaderboard_position(0.9979).summary()
    assert best == "no known score without test-label leakage is above 0.9979"


def test_the_lowest_score_has_nothing_below():
    assert leaderboard_position(0.1).below == ()
    summary = leaderboard_position(0.1).summary()
    assert summary.startswith("0.1 is below 0.82 (a logbook's MLP")
    assert "at or above" not in summary
    assert leaderboard_position(0.815).summary().endswith("but inside its 95% interval")


@pytest.mark.parametrize("score", [-0.1, 99.6, float("nan")])
def test_what_is_no_accuracy_has_an_error_message(score):
    with pytest.raises(DataError, match="expected an accuracy from 0 to 1"):
        leaderboard_position(score)


def test_the_table_in_the_docs_lists_the_same_entries():
    page = (Path(__file__).parents[1] / "docs" / "results.md").read_text("utf-8")
    for entry in leaderboard_entries():
        low, high = entry.interval
        row = f"| {entry.score:g} | {low:.4f}–{high:.4f} | {entry.method} | {entry.source} |\n"
        assert row in page
    assert f"Above {plausible_max():.5f}" in page

"""The pages of a search and of a comparison say what their JSON says."""

import html5lib
import pytest

from tenfold.report.experiment_report import write_compare_page, write_search_page
from tenfold.report.figures.experiments import MethodPoint, frontier


@pytest.mark.parametrize("which", ["search", "compare"])
def test_a_strict_parser_reads_the_page(search_page, compare_page, which):
    page = {"search": search_page, "compare": compare_page}[which]
    html5lib.HTMLParser(strict=True).parse(page.read_text())


def test_the_page_of_a_search(search_page):
    text = search_page.read_text()
    assert "On 400 images set aside &lt;2 seeds&gt; the winner is better." in text
    assert "Of 12 trials: 10 stopped early, 1 failed, 1 complete." in text
    assert "training diverged in epoch 1" in text
    figures = {path.stem for path in (search_page.parent / "figures").iterdir()}
    assert figures == {"history", "importance", "coordinates", "slices"}


def test_a_search_without_a_verdict_or_enough_trials(search_told, tmp_path):
    told = search_told | {"verdict": None, "importance": None, "doubt": "neither was <tried>"}
    write_search_page(told, tmp_path / "report.html", tmp_path / "figures")
    text = (tmp_path / "report.html").read_text()
    assert "Trial 7 won" in text
    assert "was lucky is not known: neither was &lt;tried&gt;." in text
    assert "too few trials to say which choice mattered most" in text
    assert not (tmp_path / "figures" / "importance.png").exists()


def test_the_page_of_a_comparison(compare_page):
    text = compare_page.read_text()
    assert "quick reads most: 0.9900" in text
    assert "knn learned from only 1,300 of 1,333 images" in text
    assert "MemoryError: &lt;too much&gt;" in text
    assert "Of 3 pairs, 2 differ" in text
    assert "knn and knn+hog" in text


def test_a_comparison_of_one(compare_told, tmp_path):
    told = compare_told | {"methods": compare_told["methods"][:1], "pairs": []}
    write_compare_page(told, tmp_path / "report.html", tmp_path / "figures")
    assert "Of 0 pairs" not in (tmp_path / "report.html").read_text()


def test_the_frontier_is_what_nobody_beats_in_both():
    placed = [
        MethodPoint(name, seconds, error, (error, error), False)
        for name, seconds, error in (("a", 1, 0.5), ("b", 2, 0.6), ("c", 3, 0.1), ("d", 3, 0.2))
    ]
    assert [one.name for one in frontier(placed)] == ["a", "c"]

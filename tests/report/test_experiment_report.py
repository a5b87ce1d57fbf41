"""The reports of a search and of a comparison show what is in their JSON."""

import html5lib
import pytest

from tenfold.report.experiment_report import write_compare_page, write_search_page
from tenfold.report.figures.experiments import MethodPoint, pareto_front


@pytest.mark.parametrize("which", ["search", "compare"])
def test_the_report_is_valid_html(search_page, compare_page, which):
    page = {"search": search_page, "compare": compare_page}[which]
    html5lib.HTMLParser(strict=True).parse(page.read_text())


def test_the_report_of_a_search(search_page):
    text = search_page.read_text()
    assert "On 400 test images &lt;2 seeds&gt; the winner is better." in text
    assert "Of 24 trials: 22 pruned, 1 failed, 1 complete." in text
    assert "training diverged in epoch 1" in text
    figures = {path.stem for path in (search_page.parent / "figures").iterdir()}
    assert figures == {"history", "importance", "coordinates", "slices"}
    assert "2 seeds are too few to show a small difference" in text


def test_a_search_without_a_paired_test_and_with_few_trials(search_data, tmp_path):
    changes = {
        "paired_test": None,
        "importance": None,
        "no_test_reason": "it was <skipped>",
        "trials": search_data["trials"][:12],
    }
    write_search_page(search_data | changes, tmp_path / "report.html", tmp_path / "figures")
    text = (tmp_path / "report.html").read_text()
    assert "Trial 7 won" in text
    assert "better than the baseline is not known: it was &lt;skipped&gt;." in text
    assert "11 trials are too few to tell which parameter matters most" in text
    assert "seeds are too few" not in text
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["history.png"]


def test_the_report_of_a_comparison(compare_page):
    text = compare_page.read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "quick is most accurate: 99.00%, after 10 s of training on one core" in text
    assert "knn was trained on only 1,300 of 1,333 images" in text
    assert "MemoryError: &lt;too much&gt;" in text
    assert "Of 3 pairs, 2 differ significantly" in text
    assert "knn and knn+hog" in text


def test_a_comparison_of_one_method_has_no_pairs(compare_data, tmp_path):
    changes = {"methods": compare_data["methods"][:1], "pairs": []}
    write_compare_page(compare_data | changes, tmp_path / "report.html", tmp_path / "figures")
    assert "Of 0 pairs" not in (tmp_path / "report.html").read_text()


def test_no_method_beats_the_pareto_front_in_both_time_and_error():
    points = [
        MethodPoint(name, seconds, error, (error, error), False)
        for name, seconds, error in (("a", 1, 0.5), ("b", 2, 0.6), ("c", 3, 0.1), ("d", 3, 0.2))
    ]
    assert [point.name for point in pareto_front(points)] == ["a", "c"]

"""Methods by name, their features, and the estimates of their time."""

import subprocess
import sys

import numpy as np
import pytest

from tenfold.errors import ExperimentError
from tenfold.experiments.baselines import (
    CLASSIC,
    DEFAULT_METHODS,
    Method,
    deskew_images,
    extract_features,
    make_estimator,
    parse_methods,
)
from tenfold.experiments.cross_validation import Cost, apply_budget, makespan


def test_all_default_methods_can_be_created():
    methods = parse_methods(None)
    assert [method.name for method in methods] == list(DEFAULT_METHODS)
    for method in methods:
        assert (method.recipe is None) == (method.name in CLASSIC)
        if method.estimator is not None:
            assert hasattr(make_estimator(method.estimator), "predict")


def test_names_may_have_features_or_be_recipes_or_classes():
    first, second, third = parse_methods("knn+deskew+hog, pocket, sklearn.svm:LinearSVC+hog")
    assert first.features == ("deskew", "hog")
    assert second.recipe.network.name == "pocket"
    assert third.estimator == "sklearn.svm:LinearSVC"
    assert third.features == ("hog",)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("kmn", "method kmn: is not known; did you mean knn"),
        ("knn+sift", "'sift' is not one of deskew, hog"),
        ("quick+hog", "networks learn their own features, expected quick"),
        ("tiny", "trains more than one network"),
        ("sklearn.svm:Nothing", "cannot be created (AttributeError"),
        ("no.such.module:Class", "cannot be created (ModuleNotFoundError"),
        ("builtins:dict", "has no fit and predict"),
        ("knn,knn", "each once"),
        (" , ", "--methods ' , ': expected names of methods"),
        ("", "--methods '': expected names of methods"),
        ("knn,,", "--methods 'knn,,': expected names of methods"),
    ],
)
def test_an_unknown_method_has_an_error_message(names, message):
    with pytest.raises(ExperimentError) as caught:
        parse_methods(names)
    assert message in str(caught.value)


def test_without_features_rows_are_pixels_from_0_to_1(digits):
    rows = extract_features(digits.images[:50], [])
    assert rows.shape == (50, 784)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows * 255, digits.images[:50].reshape(50, -1), atol=1e-4)


def test_deskewing_centres_a_slanted_stroke_and_makes_it_vertical():
    slanted = np.zeros((1, 28, 28), np.float32)
    for row in range(6, 20):
        slanted[0, row, 22 - row // 2 - 6 : 22 - row // 2 - 4] = 1
    deskewed = deskew_images(slanted)[0]
    columns = np.arange(28)
    centres = [(line * columns).sum() / line.sum() for line in deskewed if line.sum() > 0.5]
    assert len(centres) >= 13
    assert np.ptp(centres) < 0.6
    assert abs(np.mean(centres) - 13.5) < 0.3


def test_deskewing_leaves_blank_images_blank():
    assert not deskew_images(np.zeros((2, 28, 28), np.float32)).any()


def test_both_features_improve_nearest_neighbours(digits):
    from sklearn.neighbors import KNeighborsClassifier

    def accuracy(names):
        rows = extract_features(digits.images, names)
        neighbours = KNeighborsClassifier(3).fit(rows[:1200], digits.labels[:1200])
        return neighbours.score(rows[1200:], digits.labels[1200:])

    plain, deskew, hog = accuracy([]), accuracy(["deskew"]), accuracy(["deskew", "hog"])
    assert plain < deskew
    assert plain < hog


def made_up_fits(exponent, each):
    return [
        {"train_images": n, "fit_s": 1e-6 * n**exponent, "predict_s": each * n}
        for n in (1000, 2000, 4000)
    ]


def test_small_fits_are_extrapolated_to_many_images():
    cost = Cost.from_fits(Method.from_name("rbf-svm"), made_up_fits(1.8, 1e-9))
    expected = 4 + 1e-6 * 28_000**1.8 + 28_000 * 1e-9 * 14_000
    assert cost.seconds(28_000, 14_000) == pytest.approx(expected, rel=1e-6)
    fraction = cost.affordable_fraction(30, 28_000, 14_000)
    assert cost.seconds(fraction * 28_000, 14_000) == pytest.approx(30, rel=1e-3)
    assert cost.affordable_fraction(1e9, 28_000, 14_000) == 1


def apply(costs, budget_s, workers=2):
    sizes = {"train_images": 28_000, "eval_images": 14_000}
    return apply_budget(costs, budget_s, **sizes, folds=3, workers=workers, classes=10)


def test_a_budget_is_met_by_training_the_slowest_method_on_fewer_images():
    fast = Cost(4000, 0.1, 1.0, 1e-6, 0.0)
    slow = Cost(4000, 10.0, 2.0, 1e-6, 0.0)  # 490 s on all images
    fractions = apply([fast, slow], 300)
    assert fractions[0] == 1
    assert 0 < fractions[1] < 1
    seconds = [
        cost.seconds(fraction * 28_000, 14_000)
        for cost, fraction in zip((fast, slow), fractions, strict=True)
        for _ in range(3)
    ]
    assert makespan(seconds, 2) == pytest.approx(300, rel=1e-3)
    assert apply([fast, slow], 2000) == [1, 1]
    assert apply([slow, fast], 300) == fractions[::-1]


def test_however_small_the_budget_a_method_trains_on_500_images():
    assert apply([Cost(4000, 10.0, 2.0, 1e-6, 0.0)], 1.0) == [500 / 28_000]


def test_a_network_is_expected_to_train_all_epochs_or_half_with_early_stopping():
    fits = [{"train_images": 4000, "fit_s": 2.0, "predict_s": 1e-5}]
    quick, early = Method.from_name("quick"), Method.from_name("thelastdev")
    assert Cost.from_fits(quick, fits).fit_s == 2 * quick.recipe.training.max_epochs
    assert Cost.from_fits(early, fits).fit_s == 2 * early.recipe.training.max_epochs / 2


def test_exponents_from_noisy_fits_stay_within_bounds():
    fits = [{"train_images": n, "fit_s": s, "predict_s": s} for n, s in ((1000, 1.0), (2000, 0.1))]
    cost = Cost.from_fits(Method.from_name("knn"), fits)
    assert (cost.fit_exponent, cost.predict_exponent) == (0.5, 0.0)


def test_the_makespan_of_two_workers():
    assert makespan([1, 1, 4, 4], 2) == 5
    assert makespan([3], 2) == 3


def test_the_same_method_under_two_names_has_an_error_message():
    with pytest.raises(ExperimentError, match="mlp and logbook-mlp are the same"):
        parse_methods("mlp,knn,logbook-mlp")


def test_hog_without_its_library_fails_before_anything_is_fitted(monkeypatch):
    monkeypatch.setattr("tenfold.experiments.baselines.find_spec", lambda _name: None)
    assert parse_methods("knn+deskew")
    with pytest.raises(ExperimentError, match=r"pip install 'tenfold\[hog\]'"):
        parse_methods("knn+hog")


@pytest.mark.parametrize("by", ["make_estimator", "source_checksum", "import_module_of"])
def test_the_current_folder_is_searched_after_all_installed_modules(tmp_path, by):
    """As in the process of a job, whose path does not start with the current folder."""
    (tmp_path / "mine.py").write_text("import random\nclass Mine:\n    fit = predict = None\n")
    (tmp_path / "random.py").write_text("raise SystemExit('not the one you want')")
    code = f"from tenfold.experiments.baselines import {by}; assert {by}('mine:Mine')"
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_changed_class_is_another_method(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "mine_to_change.py"
    path.write_text("class Mine:\n    fit = predict = None\n")
    before = Method.from_name("mine_to_change:Mine").to_json()
    assert Method.from_name("mine_to_change:Mine").to_json() == before
    path.write_text("class Mine:\n    fit = predict = True\n")
    assert Method.from_name("mine_to_change:Mine").to_json() != before

"""Methods by name, their features, and the estimate of their time."""

import subprocess
import sys

import numpy as np
import pytest

from tenfold.errors import ExperimentError
from tenfold.experiments.baselines import (
    CLASSIC,
    COMPARED,
    Method,
    deskewed,
    features,
    make,
    methods_of,
)
from tenfold.experiments.cross_validation import Cost, makespan


def test_all_methods_that_come_along_can_be_made():
    methods = methods_of(None)
    assert [method.name for method in methods] == list(COMPARED)
    for method in methods:
        assert (method.recipe is None) == (method.name in CLASSIC)
        if method.estimator is not None:
            assert hasattr(make(method.estimator), "predict")


def test_names_with_features_recipes_and_classes():
    first, second, third = methods_of("knn+deskew+hog, pocket, sklearn.svm:LinearSVC+hog")
    assert first.features == ("deskew", "hog")
    assert second.recipe.network.name == "pocket"
    assert third.estimator == "sklearn.svm:LinearSVC"
    assert third.features == ("hog",)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("kmn", "method kmn: is not known; did you mean knn"),
        ("knn+sift", "'sift' is none of deskew, hog"),
        ("quick+hog", "networks learn their own features, expected quick"),
        ("tiny", "is more than one training"),
        ("sklearn.svm:Nothing", "cannot be made (AttributeError"),
        ("no.such.module:Class", "cannot be made (ModuleNotFoundError"),
        ("builtins:dict", "has no fit and predict"),
        ("knn,knn", "each once"),
        (" , ", "--methods ' , ': expected names of methods"),
        ("", "--methods '': expected names of methods"),
        ("knn,,", "--methods 'knn,,': expected names of methods"),
    ],
)
def test_what_is_no_method_is_a_sentence(asked, sentence):
    with pytest.raises(ExperimentError) as caught:
        methods_of(asked)
    assert sentence in str(caught.value)


def test_plain_features_are_pixels_from_0_to_1(digits):
    rows = features(digits.images[:50], [])
    assert rows.shape == (50, 784)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows * 255, digits.images[:50].reshape(50, -1), atol=1e-4)


def test_deskewing_stands_a_slanted_stroke_upright_in_the_centre():
    slanted = np.zeros((1, 28, 28), np.float32)
    for row in range(6, 20):
        slanted[0, row, 22 - row // 2 - 6 : 22 - row // 2 - 4] = 1
    straight = deskewed(slanted)[0]
    columns = np.arange(28)
    centres = [(line * columns).sum() / line.sum() for line in straight if line.sum() > 0.5]
    assert len(centres) >= 13
    assert np.ptp(centres) < 0.6
    assert abs(np.mean(centres) - 13.5) < 0.3


def test_deskewing_leaves_blank_images_blank():
    assert not deskewed(np.zeros((2, 28, 28), np.float32)).any()


def test_both_features_help_the_nearest_neighbours(digits):
    from sklearn.neighbors import KNeighborsClassifier

    def accuracy(names):
        rows = features(digits.images, names)
        neighbours = KNeighborsClassifier(3).fit(rows[:1200], digits.labels[:1200])
        return neighbours.score(rows[1200:], digits.labels[1200:])

    plain, upright, directions = accuracy([]), accuracy(["deskew"]), accuracy(["deskew", "hog"])
    assert plain < upright
    assert plain < directions


def fits_of(power, each):
    return [
        {"images": n, "fit_s": 1e-6 * n**power, "predict_s": each * n} for n in (1000, 2000, 4000)
    ]


def test_the_time_of_many_follows_from_few():
    method = Method.named("rbf-svm")
    cost = Cost.of(method, fits_of(1.8, 1e-9))
    expected = 4 + 1e-6 * 28_000**1.8 + 28_000 * 1e-9 * 14_000
    assert cost.seconds(28_000, 14_000) == pytest.approx(expected, rel=1e-6)
    part = cost.affordable(30, 28_000, 14_000)
    assert cost.seconds(part * 28_000, 14_000) == pytest.approx(30, rel=1e-3)
    assert cost.affordable(1e9, 28_000, 14_000) == 1


def test_a_network_takes_its_epochs_and_half_of_them_if_it_may_stop():
    fits = [{"images": 4000, "fit_s": 2.0, "predict_s": 1e-5}]
    quick, early = Method.named("quick"), Method.named("thelastdev")
    assert Cost.of(quick, fits).fit_s == 2 * quick.recipe.training.max_epochs
    assert Cost.of(early, fits).fit_s == 2 * early.recipe.training.max_epochs / 2


def test_noise_in_small_fits_cannot_make_nonsense():
    fits = [{"images": n, "fit_s": s, "predict_s": s} for n, s in ((1000, 1.0), (2000, 0.1))]
    cost = Cost.of(Method.named("knn"), fits)
    assert (cost.fit_power, cost.predict_power) == (0.5, 0.0)


def test_how_long_two_workers_take():
    assert makespan([1, 1, 4, 4], 2) == 5
    assert makespan([3], 2) == 3


def test_the_same_method_by_two_names():
    with pytest.raises(ExperimentError, match="mlp and logbook-mlp are the same"):
        methods_of("mlp,knn,logbook-mlp")


def test_gradients_without_their_library_are_told_before_anything_is_fitted(monkeypatch):
    monkeypatch.setattr("tenfold.experiments.baselines.find_spec", lambda _name: None)
    assert methods_of("knn+deskew")
    with pytest.raises(ExperimentError, match=r"pip install 'tenfold\[hog\]'"):
        methods_of("knn+hog")


@pytest.mark.parametrize("by", ["make", "source_of", "module_of"])
def test_a_class_in_the_current_folder_is_found_behind_all_others(tmp_path, by):
    """As in the process of a job, which does not begin with the current folder."""
    (tmp_path / "mine.py").write_text("import random\nclass Mine:\n    fit = predict = None\n")
    (tmp_path / "random.py").write_text("raise SystemExit('not the one you want')")
    code = f"from tenfold.experiments.baselines import {by}; assert {by}('mine:Mine')"
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_class_that_was_mended_is_another_method(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "mine_to_mend.py"
    path.write_text("class Mine:\n    fit = predict = None\n")
    before = Method.named("mine_to_mend:Mine").to_json()
    assert Method.named("mine_to_mend:Mine").to_json() == before
    path.write_text("class Mine:\n    fit = predict = True\n")
    assert Method.named("mine_to_mend:Mine").to_json() != before

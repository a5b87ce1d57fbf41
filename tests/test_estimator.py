from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from tenfold import DigitClassifier, estimator
from tenfold.errors import DataError, RecipeError

FAST = ("network.width=8", "training.max_epochs=4", "training.batch_size=64")


@pytest.fixture(scope="module")
def pixels(digits):
    return digits.images.reshape(len(digits), -1)


@pytest.fixture(scope="module")
def fitted(pixels, digits):
    return DigitClassifier(seed=1, overrides=FAST).fit(pixels[:1500], digits.labels[:1500])


def test_it_learns_and_scores_as_scikit_learn_expects(fitted, pixels, digits):
    assert fitted.score(pixels[1500:], digits.labels[1500:]) > 0.85
    probabilities = fitted.predict_proba(pixels[1500:])
    assert probabilities.shape == (500, 10)
    answers = fitted.predict(pixels[1500:])
    assert answers.dtype == np.int64
    assert np.array_equal(fitted.classes_[probabilities.argmax(axis=1)], answers)


def test_it_can_be_cloned_and_cross_validated(fitted, pixels, digits):
    copy = clone(fitted)
    assert copy.get_params() == {"recipe": "quick", "seed": 1, "overrides": FAST}
    with pytest.raises(NotFittedError):
        copy.predict(pixels)
    scores = cross_val_score(copy, pixels, digits.labels, cv=2)
    assert scores.min() > 0.75


def test_labels_may_be_of_any_kind(pixels, digits):
    words = np.array(["even", "odd"])[digits.labels % 2]
    answers = DigitClassifier(overrides=FAST).fit(pixels[:800], words[:800]).predict(pixels)
    assert set(answers) == {"even", "odd"}
    assert (answers == words).mean() > 0.75


def test_its_confidence_is_calibrated_by_what_it_holds_out(pixels, digits):
    """Label smoothing alone leaves it far less sure than it is right."""
    found = DigitClassifier(overrides=(*FAST, "data.validation=0.5")).fit(pixels, digits.labels)
    assert found.recognizer_.temperature < 0.9
    hide_axes = replace(found.recognizer_, temperature=1.0)
    assert (
        found.predict_proba(pixels).max(axis=1).mean()
        > hide_axes.predict_proba(digits.images).max(axis=1).mean()
    )


def test_labels_may_stand_in_a_column(pixels, digits):
    found = DigitClassifier(overrides=FAST).fit(pixels[:400], digits.labels[:400, None])
    assert found.classes_.tolist() == list(range(10))


@pytest.mark.parametrize("blank", [np.nan, None])
def test_blank_labels_are_refused(pixels, digits, blank):
    labels = digits.labels[:200].astype(object if blank is None else float)
    labels[7] = blank
    with pytest.raises(DataError, match="y: has blanks, expected a label for every image"):
        DigitClassifier(overrides=FAST).fit(pixels[:200], labels)


@pytest.mark.parametrize(
    "several",
    ["ensemble.members=2", "distillation.teacher=standard", "data.pseudo_label_threshold=0.9"],
)
def test_more_than_one_training_is_refused(pixels, digits, several):
    with pytest.raises(RecipeError, match="is more than one training, expected a single network"):
        DigitClassifier(overrides=(*FAST, several)).fit(pixels[:200], digits.labels[:200])


@pytest.mark.parametrize(
    "bad",
    [
        np.full((4, 784), 0.5),
        np.full((4, 784), 300),
        np.zeros((4, 785)),
        np.zeros((0, 784)),
        np.zeros((4, 14, 56)),
        np.zeros(784),
    ],
)
def test_what_is_no_image_is_refused(fitted, bad):
    with pytest.raises(DataError, match=r"^X: "):
        fitted.predict(bad)


def test_it_holds_out_the_fold_that_the_recipe_names(pixels, digits, monkeypatch):
    seen = []

    def fit(train, valid, recipe):
        seen.append(valid.content_hash())
        return real(train, valid, recipe)

    real = estimator.fit
    monkeypatch.setattr(estimator, "fit", fit)
    for fold in range(3):
        chosen = (*FAST, "data.validation=0.2", f"data.fold={fold}", "training.max_epochs=1")
        DigitClassifier(overrides=chosen).fit(pixels[:200], digits.labels[:200])
    assert len(set(seen)) == 3

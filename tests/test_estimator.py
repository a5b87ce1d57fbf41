import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from tenfold import DigitClassifier
from tenfold.errors import DataError

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

    def fit(train, valid, _recipe):
        seen.append(valid.fingerprint())

    monkeypatch.setattr("tenfold.estimator.fit", fit)
    for fold in range(3):
        chosen = ("data.validation=0.2", f"data.fold={fold}")
        DigitClassifier(overrides=chosen).fit(pixels[:200], digits.labels[:200])
    assert len(set(seen)) == 3

"""DigitClassifier keeps scikit-learn's conventions, and says what does not look like images."""

import inspect
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator

from tenfold import DigitClassifier
from tenfold.errors import RecipeError
from tenfold.estimator import FROM_RECIPE, RECIPE_FIELDS
from tenfold.recipe import Recipe

FAST = {
    "network__width": 8,
    "training__max_epochs": 4,
    "training__batch_size": 64,
    "training__precision": "fp32",
}
FASTEST = {**FAST, "training__max_epochs": 1}

# scikit-learn's checks use small tables of any numbers, in which this learns without images.
ANY_TABLE = DigitClassifier(
    recipe="logbook-mlp",
    pixel_range="minmax",
    image_shape=(1, -1),
    network__hidden=(32,),
    optimizer__learning_rate=0.01,
    training__batch_size=32,
    training__max_epochs=20,
    training__precision="fp32",
    data__validation=None,
)
IMAGES_ONLY = DigitClassifier(recipe="logbook-mlp", data__validation=None)
EXPECTED_FAILED_CHECKS: dict[str, str] = {}  # check name: reason


@pytest.fixture(scope="module")
def pixels(digits):
    return digits.images.reshape(len(digits), -1)


@pytest.fixture(scope="module")
def fitted(pixels, digits):
    return DigitClassifier(random_state=1, **FAST).fit(pixels[:1500], digits.labels[:1500])


# scikit-learn's own checks


@pytest.mark.filterwarnings("ignore")  # of clipped values: the checks predict beyond their X
def test_check_estimator_passes():
    results = check_estimator(
        ANY_TABLE, expected_failed_checks=EXPECTED_FAILED_CHECKS, on_fail=None, on_skip=None
    )
    assert len(results) > 50
    failed = {found["check_name"]: found["exception"] for found in results if found["exception"]}
    failed.pop("check_array_api_input", None)  # skipped unless SCIPY_ARRAY_API is set
    assert set(failed) == set(EXPECTED_FAILED_CHECKS), failed


@pytest.mark.filterwarnings("ignore")
def test_by_default_checks_fail_only_where_their_data_are_no_images():
    refusals = ("expected square images", "expected whole numbers up to 255")
    results = check_estimator(IMAGES_ONLY, on_fail=None, on_skip=None)
    failed = [found for found in results if found["status"] == "failed"]
    assert 0 < len(failed) < len(results) / 2
    for found in failed:
        assert any(text in str(found["exception"]) for text in refusals), found


# Parameters


def test_every_recipe_field_is_a_parameter():
    parameters = DigitClassifier().get_params()
    recipe = Recipe()
    for section in ("data", "preprocessing", "augmentation", "network", "optimizer", "schedule",
                    "training", "distillation", "prediction", "ensemble"):  # fmt: skip
        for field in type(getattr(recipe, section)).model_fields:
            assert parameters.pop(f"{section}__{field}") == FROM_RECIPE
    assert parameters == {
        "recipe": "quick", "random_state": None, "pixel_range": "auto", "image_shape": None
    }  # fmt: skip
    assert {*parameters, *RECIPE_FIELDS} == set(inspect.signature(DigitClassifier).parameters)


def test_parameters_reach_the_recipe():
    classifier = DigitClassifier("lenet5", random_state=5, optimizer__learning_rate=0.01)
    classifier.set_params(training__max_epochs=3, training__ema_decay=0.9)
    recipe = classifier.resolve_recipe()
    assert (recipe.name, recipe.seed) == ("lenet5", 5)
    assert recipe.optimizer.learning_rate == 0.01
    assert recipe.training.max_epochs == 3
    assert recipe.training.batch_size == Recipe.load("lenet5").training.batch_size
    classifier.set_params(training__ema_decay=None, training__max_epochs=FROM_RECIPE)
    recipe = classifier.resolve_recipe()
    assert recipe.training.ema_decay is None
    assert recipe.training.max_epochs == Recipe.load("lenet5").training.max_epochs


def test_without_parameters_the_recipe_is_the_one_named():
    assert DigitClassifier("pocket").resolve_recipe() == Recipe.load("pocket")
    own = Recipe.load("pocket", seed=3)
    assert DigitClassifier(own).resolve_recipe() == own


def test_unknown_parameters_are_refused_with_a_suggestion():
    classifier = DigitClassifier()
    with pytest.raises(ValueError, match=r"'optimizer__lr' for .*; did you mean 'optimizer__"):
        classifier.set_params(random_state=3, optimizer__lr=1)
    assert classifier.random_state is None  # nothing was set
    with pytest.raises(TypeError, match="argument 'training__epochs'; did you mean 'training__ma"):
        DigitClassifier(training__epochs=3)
    with pytest.raises(ValueError, match="Invalid parameter 'optimizer'"):
        classifier.set_params(optimizer=3)


def test_the_repr_names_only_what_was_set():
    classifier = DigitClassifier("lenet5", training__max_epochs=3)
    assert repr(classifier) == "DigitClassifier(recipe='lenet5', training__max_epochs=3)"
    assert repr(DigitClassifier()) == "DigitClassifier()"


def test_a_clone_has_the_same_parameters_and_follows_another_recipe():
    classifier = DigitClassifier("quick", random_state=1, network__hidden=None, **FAST)
    copy = clone(classifier)
    assert copy.get_params() == classifier.get_params()
    assert copy.resolve_recipe() == classifier.resolve_recipe()
    copy.set_params(recipe="pocket")  # fields that were not set are not pinned to quick's
    assert copy.resolve_recipe().schedule == Recipe.load("pocket").schedule


def test_bad_values_are_refused_in_fit_with_every_problem(pixels, digits):
    classifier = DigitClassifier(
        random_state=-1, optimizer__learning_rate=-1, training__max_epochs="many"
    )
    with pytest.raises(RecipeError) as caught:
        classifier.fit(pixels[:20], digits.labels[:20])
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    "field",
    [
        {"ensemble__members": 2},
        {"distillation__teacher": "standard"},
        {"data__pseudo_label_threshold": 0.9},
    ],
)
def test_more_than_one_training_is_refused(pixels, digits, field):
    with pytest.raises(RecipeError, match="is more than one training, expected a single network"):
        DigitClassifier(**FAST, **field).fit(pixels[:200], digits.labels[:200])


# Searches


def test_grid_search_tries_recipe_fields(pixels, digits):
    search = GridSearchCV(
        make_pipeline(DigitClassifier(random_state=0, **FAST)),
        {"digitclassifier__training__max_epochs": [1, 5]},
        cv=2,
    )
    search.fit(pixels[:800], digits.labels[:800])
    assert search.best_params_ == {"digitclassifier__training__max_epochs": 5}
    best = search.best_estimator_[-1]
    assert best.recipe_.training.max_epochs == 5
    assert best.recipe_.network.width == 8


def test_randomized_search_draws_recipe_fields(pixels, digits):
    search = RandomizedSearchCV(
        DigitClassifier(**FASTEST),
        {
            "optimizer__learning_rate": loguniform(1e-3, 1e-2),
            "network__width": np.array([4, 6]),
            "preprocessing__standardize": np.array([True, False]),
            "training__progressive_sizes": [(), (16,)],
        },
        n_iter=2,
        cv=2,
        random_state=0,
        error_score="raise",
    )
    search.fit(pixels[:400], digits.labels[:400])
    selected, recipe = search.best_params_, search.best_estimator_.recipe_
    assert recipe.optimizer.learning_rate == selected["optimizer__learning_rate"]
    assert recipe.network.width == selected["network__width"]
    assert recipe.training.progressive_sizes == selected["training__progressive_sizes"]
    assert recipe.to_toml()  # plain Python values, not numpy's


def test_cross_validation(pixels, digits):
    scores = cross_val_score(DigitClassifier(random_state=1, **FAST), pixels, digits.labels, cv=2)
    assert scores.min() > 0.75


# Fitting and predicting


def test_it_learns(fitted, pixels, digits):
    assert fitted.score(pixels[1500:], digits.labels[1500:]) > 0.85
    probabilities = fitted.predict_proba(pixels[1500:])
    assert probabilities.shape == (500, 10)
    predicted = fitted.predict(pixels[1500:])
    assert predicted.dtype == np.int64
    assert np.array_equal(fitted.classes_[probabilities.argmax(axis=1)], predicted)
    assert (fitted.n_features_in_, fitted.image_shape_) == (784, (28, 28))
    assert fitted.recipe_.seed == 1


def test_random_state_determines_the_result(pixels, digits):
    def hash_of(random_state):
        classifier = DigitClassifier(random_state=random_state, **FASTEST)
        return classifier.fit(pixels[:200], digits.labels[:200]).recognizer_.content_hash()

    assert hash_of(0) == hash_of(np.int64(0)) == hash_of(None)  # the recipe's seed is 0
    assert hash_of(np.random.RandomState(7)) == hash_of(np.random.RandomState(7))
    generator = np.random.RandomState(7)
    assert len({hash_of(0), hash_of(1), hash_of(generator), hash_of(generator)}) == 4


def test_an_unfitted_classifier_does_not_predict(fitted, pixels):
    with pytest.raises(NotFittedError):
        clone(fitted).predict(pixels)


def test_a_failed_fit_leaves_a_classifier_unfitted(pixels, digits):
    classifier = DigitClassifier(ensemble__members=2)
    with pytest.raises(RecipeError):
        classifier.fit(pixels[:50], digits.labels[:50])
    with pytest.raises(NotFittedError):
        classifier.predict(pixels[:50])


def test_pickling_keeps_every_probability(fitted, pixels):
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(pixels[:50]), fitted.predict_proba(pixels[:50]))


def test_labels_may_be_words(pixels, digits):
    words = np.array(["even", "odd"])[digits.labels % 2]
    predicted = DigitClassifier(**FAST).fit(pixels[:800], words[:800]).predict(pixels)
    assert set(predicted) == {"even", "odd"}
    assert (predicted == words).mean() > 0.75


def test_labels_in_a_column_are_taken_with_scikit_learns_warning(pixels, digits):
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        found = DigitClassifier(**FASTEST).fit(pixels[:400], digits.labels[:400, None])
    assert found.classes_.tolist() == list(range(10))


def test_probabilities_are_calibrated_on_the_images_held_out(pixels, digits):
    """Label smoothing alone leaves it far less confident than it is right."""
    found = DigitClassifier(**FAST, data__validation=0.5).fit(pixels, digits.labels)
    assert found.recognizer_.temperature < 0.9
    uncalibrated = replace(found.recognizer_, temperature=1.0)
    assert (
        found.predict_proba(pixels).max(axis=1).mean()
        > uncalibrated.predict_proba(digits.images).max(axis=1).mean()
    )


def test_the_recipes_fold_is_held_out(pixels, digits):
    hashes = {
        DigitClassifier(**FASTEST, data__validation=0.2, data__fold=fold)
        .fit(pixels[:200], digits.labels[:200])
        .recognizer_.content_hash()
        for fold in range(3)
    }
    assert len(hashes) == 3


# What is refused


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([np.nan], "Input y contains NaN"),
        ([None], "Input y contains None, expected a label"),
        ([0.5], "Unknown label type: continuous"),
        ([1j], "Complex data not supported"),
    ],
)
def test_labels_that_are_no_classes_are_refused(pixels, digits, labels, message):
    y = digits.labels[:200].astype(np.asarray(labels).dtype)
    y[7] = labels[0]
    with pytest.raises(ValueError, match=message):
        DigitClassifier(**FAST).fit(pixels[:200], y)


def test_a_single_class_is_refused(pixels):
    with pytest.raises(ValueError, match="y contains one class, 3, expected at least 2 classes"):
        DigitClassifier(**FAST).fit(pixels[:20], np.full(20, 3))


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.zeros((0, 784)), ValueError, "0 sample"),
        (np.zeros((4, 0)), ValueError, "0 feature"),
        (np.zeros((4, 1)), ValueError, "1 feature"),
        (np.zeros(784), ValueError, "Reshape your data"),
        (np.zeros((2, 2, 14, 14)), ValueError, "dim 4"),
        (np.full((4, 784), np.nan), ValueError, "contains NaN"),
        (np.full((4, 784), np.inf), ValueError, "contains infinity"),
        (np.full((4, 784), 1j), ValueError, "Complex data not supported"),
        (np.full((4, 784), "0"), ValueError, "arrays of bytes/strings"),
        (np.full((4, 784), {}, object), TypeError, "argument must be a string or a real number"),
        (sparse.csr_array(np.zeros((4, 784))), TypeError, "Sparse data was passed"),
        ([[1, 2], [3]], ValueError, "inhomogeneous"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "predict"])
def test_what_scikit_learn_refuses_is_refused_in_its_words(fitted, bad, error, message, method):
    n = bad.shape[0] if hasattr(bad, "shape") else len(bad)
    arguments = (bad, np.arange(n)) if method == "fit" else (bad,)
    classifier = clone(fitted) if method == "fit" else fitted
    with pytest.raises(error, match=message):
        getattr(classifier, method)(*arguments)


def test_mismatched_lengths_are_refused(pixels, digits):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        DigitClassifier(**FAST).fit(pixels[:20], digits.labels[:19])


def test_another_number_of_pixels_is_refused_in_predict(fitted):
    with pytest.raises(ValueError, match="X has 729 features, but DigitClassifier is expecting"):
        fitted.predict(np.zeros((4, 729), np.uint8))


# The shape of images


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 785), r"X has 785 features \(is one a label or a row number\?\), expected square"),
        ((4, 800), "X has 800 features, expected square images"),
        ((4, 14, 56), "X has images of 14 × 56 pixels, expected square images"),
    ],
)
def test_what_is_not_square_is_refused_unless_declared(shape, message):
    with pytest.raises(ValueError, match=message):
        DigitClassifier(**FAST).fit(np.full(shape, 200), [0, 1, 0, 1])


def test_images_may_be_3_dimensional(fitted, digits, pixels):
    assert np.array_equal(fitted.predict(digits.images), fitted.predict(pixels))
    with pytest.raises(ValueError, match=r"images of 14 × 56 pixels, expected .* \(28, 28\)"):
        fitted.predict(digits.images.reshape(-1, 14, 56))
    assert get_tags(fitted).input_tags.three_d_array


def test_declared_shapes_are_padded_with_background_to_a_square(digits):
    cropped = digits.images[:200, :, 4:24]
    padded = np.pad(cropped, ((0, 0), (0, 0), (4, 4)))
    square = DigitClassifier(**FASTEST).fit(padded, digits.labels[:200])
    for shape in [(28, 20), (28, -1), (-1, 20)]:
        found = DigitClassifier(image_shape=shape, **FASTEST)
        found.fit(cropped.reshape(200, -1), digits.labels[:200])
        assert found.image_shape_ == (28, 20)
        assert found.recognizer_.content_hash() == square.recognizer_.content_hash()
        assert np.array_equal(found.predict_proba(cropped), square.predict_proba(padded))


@pytest.mark.parametrize("shape", [(28, 21), (-1, -1), (0, 28), 28, (28.0, 28.0), (5, -1)])
def test_a_declared_shape_that_does_not_fit_is_refused(shape, pixels, digits):
    with pytest.raises(ValueError, match="image_shape"):
        DigitClassifier(image_shape=shape, **FAST).fit(pixels[:200], digits.labels[:200])


# The scale of pixels


@pytest.mark.parametrize(
    "rescale",
    [
        lambda pixels: pixels.astype(np.int64),
        lambda pixels: pixels.astype(np.float64),
        lambda pixels: pixels / 255,
        lambda pixels: (pixels / 255).astype(np.float32),
        lambda pixels: (pixels / 255).astype(np.float16),
        lambda pixels: pixels.tolist(),
    ],
)
def test_auto_reads_whole_numbers_and_fractions(rescale, pixels, digits):
    reference = DigitClassifier(**FASTEST).fit(pixels[:200], digits.labels[:200])
    found = DigitClassifier(**FASTEST).fit(rescale(pixels[:200]), digits.labels[:200])
    assert found.recognizer_.content_hash() == reference.recognizer_.content_hash()
    assert np.array_equal(
        found.predict_proba(rescale(pixels[200:300])), reference.predict_proba(pixels[200:300])
    )


def test_auto_reads_booleans_as_ink_and_background(pixels, digits):
    binary = pixels[:200] > 127
    found = DigitClassifier(**FASTEST).fit(binary, digits.labels[:200])
    reference = DigitClassifier(**FASTEST).fit(np.where(binary, 255, 0), digits.labels[:200])
    assert found.recognizer_.content_hash() == reference.recognizer_.content_hash()


@pytest.mark.parametrize(
    ("rescale", "message"),
    [
        (lambda x: x / 255 * 2 - 1, "Negative values in data passed to .*'minmax' takes any"),
        (lambda x: x / 2, "from 0 to 127.5, expected whole numbers up to 255, fractions up to 1"),
        (lambda x: x.astype(int) * 2, "from 0 to 510, expected whole numbers up to 255"),
        (lambda x: (x > 127).astype(int), r"in whole numbers, expected a pixel_range of \(0, 1\)"),
    ],
)
def test_auto_refuses_what_it_cannot_tell(rescale, message, pixels, digits):
    with pytest.raises(ValueError, match=message):
        DigitClassifier(**FAST).fit(rescale(pixels[:200]), digits.labels[:200])


def test_auto_warns_of_dim_whole_numbers():
    """scikit-learn's own digits run from 0 to 16."""
    images, labels = load_digits(return_X_y=True)
    dim = DigitClassifier(**FASTEST)
    with pytest.warns(UserWarning, match=r"if 16 is full ink, declare pixel_range=\(0, 16\)"):
        dim.fit(images[:200], labels[:200])
    declared = DigitClassifier(pixel_range=(0, 16), **FAST).fit(images[:900], labels[:900])
    assert declared.score(images[900:], labels[900:]) > 0.7


@pytest.mark.parametrize(
    ("pixel_range", "rescale"),
    [
        ((0, 255), lambda pixels: pixels),
        ((0, 1), lambda pixels: pixels / 255),
        ((-1, 1), lambda pixels: pixels / 127.5 - 1),
        ("minmax", lambda pixels: (pixels - 33.3) / 78.6),
    ],
)
def test_a_declared_scale_gives_the_same_pixels(pixel_range, rescale, pixels, digits):
    reference = DigitClassifier(**FASTEST).fit(pixels[:200], digits.labels[:200])
    found = DigitClassifier(pixel_range=pixel_range, **FASTEST)
    found.fit(rescale(pixels[:200]), digits.labels[:200])
    assert found.recognizer_.content_hash() == reference.recognizer_.content_hash()
    assert np.array_equal(
        found.predict_proba(rescale(pixels[200:300])), reference.predict_proba(pixels[200:300])
    )


@pytest.mark.parametrize("pixel_range", ["0-1", (1, 0), (0, 0), (0, np.inf), (0, 1, 2), 255, None])
def test_a_pixel_range_that_is_none_is_refused(pixel_range, pixels, digits):
    with pytest.raises(ValueError, match=r"pixel_range is .*, expected"):
        DigitClassifier(pixel_range=pixel_range, **FAST).fit(pixels[:50], digits.labels[:50])


@pytest.mark.parametrize("pixel_range", [(0, 1), (0, 254), (20, 255)])
def test_fit_refuses_values_outside_of_a_declared_range(pixel_range, pixels, digits):
    with pytest.raises(ValueError, match="from 0 to 255, expected those of pixel_range"):
        DigitClassifier(pixel_range=pixel_range, **FAST).fit(pixels[:50], digits.labels[:50])


def test_a_constant_has_no_range(digits):
    with pytest.raises(ValueError, match="expected low < high"):
        DigitClassifier(pixel_range="minmax", **FAST).fit(np.ones((20, 784)), np.arange(20) % 2)


@pytest.mark.parametrize(
    "rescale",
    [
        lambda pixels: pixels / 255,
        lambda pixels: pixels.astype(int) * 2,
        lambda pixels: pixels.astype(int) - 1,
        lambda pixels: np.full_like(pixels, 0.5, float),
    ],
)
def test_predict_refuses_what_is_not_on_the_scale_of_whole_pixels(fitted, pixels, rescale):
    with pytest.raises(ValueError, match="expected whole numbers on the scale of fit, 0 to 255"):
        fitted.predict(rescale(pixels[:50]))


@pytest.mark.parametrize("n", [1, 50])
@pytest.mark.parametrize(
    "rescale",
    [
        lambda pixels: pixels,
        lambda pixels: pixels.astype(float),
        lambda pixels: (pixels - 33.3) / 78.6,
    ],
)
def test_predict_refuses_what_is_not_on_the_scale_of_fractions(pixels, digits, rescale, n):
    found = DigitClassifier(**FASTEST).fit(pixels[:200] / 255, digits.labels[:200])
    with pytest.raises(ValueError, match="expected the scale of fit, 0 to 1"):
        found.predict(rescale(pixels[:n]))


@pytest.mark.parametrize("rescale", [lambda pixels: pixels > 127, lambda pixels: pixels // 255])
def test_predict_warns_of_images_that_are_all_but_blank(fitted, pixels, rescale):
    with pytest.warns(
        UserWarning, match=r"from 0 to 1, all but blank on the scale of fit, 0 to 25"
    ):
        fitted.predict(rescale(pixels[:50]))


def test_a_blank_image_is_on_every_scale(fitted, pixels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.predict(np.zeros((3, 784)))


def test_min_max_scaler_in_a_pipeline(pixels, digits):
    """It scales each pixel by its own range, which pixels of other images leave."""
    pipeline = make_pipeline(MinMaxScaler(), DigitClassifier(random_state=0, **FAST))
    pipeline.fit(pixels[:1500], digits.labels[:1500])
    assert pipeline[-1].pixel_scale_.high == 1
    assert pipeline[0].transform(pixels[1500:]).max() > 2
    with pytest.warns(UserWarning, match=r"0\.\d+% are outside the scale of fit, 0 to 1, and clip"):
        accuracy = pipeline.score(pixels[1500:], digits.labels[1500:])
    assert accuracy > 0.7


def test_tags_say_whether_values_may_be_negative():
    negative = {"minmax", (-1, 1)}
    for pixel_range in ("auto", "minmax", (-1, 1), (0, 1), (0, 255)):
        tags = get_tags(DigitClassifier(pixel_range=pixel_range))
        assert tags.input_tags.positive_only == (pixel_range not in negative)

"""What training is given: whether images, recipe and teacher fit each other."""

from tenfold.data.dataset import Dataset
from tenfold.errors import DataError, RecipeError
from tenfold.recipe import Recipe
from tenfold.recognizer import Recognizer


def check_given(
    train: Dataset, valid: Dataset | None, recipe: Recipe, teacher: Recognizer | None
) -> None:
    """Make sure that `tenfold.training.loop.fit` can work with its arguments.

    Raises:
        DataError: labels are missing, or the sets do not fit each other.
        RecipeError: the recipe calls for something that was not given, or the other way round.
    """
    if recipe.ensemble.members > 1:
        problem = (
            f"ensemble.members is {recipe.ensemble.members}, expected 1 here: ensembles are "
            "trained by `tenfold run`, `tenfold train`, and tenfold.training.learn.learn"
        )
        raise RecipeError(recipe.name, [problem])
    if (recipe.distillation.teacher is None) != (teacher is None):
        named = recipe.distillation.teacher or "none"
        problem = f"distillation.teacher is {named}, expected just that to be given to `fit`"
        raise RecipeError(recipe.name, [problem])
    if teacher is not None and (teacher.classes, teacher.image_size) != (
        train.classes,
        train.image_size,
    ):
        raise DataError(f"{train.name}: its classes or image size are not those of the teacher")
    train.known_labels()
    if len(train) < 2:
        raise DataError(f"{train.name}: has {len(train)} images, expected at least 2 to train on")
    if valid is None and recipe.data.validation is not None:
        raise RecipeError(
            recipe.name, ["holds images out for validation, but none were given (valid=None)"]
        )
    if valid is not None:
        if not len(valid):
            raise DataError(f"{valid.name}: has no images, expected some to judge by, or None")
        valid.known_labels()
        if (valid.classes, valid.image_size) != (train.classes, train.image_size):
            raise DataError(f"{valid.name}: its classes or image size are not those of training")

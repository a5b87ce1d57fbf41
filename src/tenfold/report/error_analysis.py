"""Errors, calibration, label issues, and the members of an ensemble."""

import numpy as np
from numpy.typing import NDArray

from tenfold.config import EnsembleConfig
from tenfold.formatting import pluralize
from tenfold.metrics import Evaluation, calibration_bins, evaluate_probabilities, risk_coverage
from tenfold.predictions import Predictions
from tenfold.report import figures
from tenfold.report.artifacts import RunArtifacts
from tenfold.report.figures.style import class_labels
from tenfold.report.html import Section, Sheet, join_items

MAX_ERRORS = 240  # images in a sheet
MAX_LOW_CONFIDENCE = 36
MAX_DISPUTED = 36
MAX_LABEL_ISSUES = 60
MIN_ACCURACY_FOR_LABEL_ISSUES = 0.97
SAMPLED_ENSEMBLES = 20  # of each size


def labelled_predictions(artifacts: RunArtifacts) -> Predictions | None:
    """Return predictions with known labels: of the test images, else of the held-out images."""
    for found in (artifacts.predictions, artifacts.validation):
        if found is not None and found.labels is not None:
            return found
    return None


def errors_section(artifacts: RunArtifacts) -> Section:
    """Errors by class and one by one, and calibration."""
    section = Section("errors", "Errors", chapter="A first network")
    known = labelled_predictions(artifacts)
    if known is None or known.labels is None:
        section.add_text("There are no predictions with known labels, so errors are unknown.")
        return section
    if known is artifacts.validation:
        section.add_text(f"Measured on {len(known):,} held-out images.")
    else:
        section.add_text(
            f"Measured on {len(known):,} test images, whose labels were read after the submission "
            "was written."
        )
    evaluation = evaluate_probabilities(known.probabilities, known.labels, known.classes)
    drawn = figures.confusion_matrix(evaluation.confusion, known.classes)
    alt_text = f"Confusion matrix with the errors coloured: {evaluation.score}"
    section.add_figure("confusion", alt_text, drawn)
    drawn = figures.scores(
        evaluation.per_class,
        "Accuracy by class",
        "By true class.",
        height_inches=drawn.get_figheight(),
    )
    accuracies = {name: f"{score.accuracy:.4f}" for name, score in evaluation.per_class.items()}
    section.add_figure("per-class", f"Accuracy of each class: {join_items(accuracies)}", drawn)
    section.add_sheet(mistakes_sheet(known, MAX_ERRORS))
    section.add_sheet(low_confidence_sheet(known, MAX_LOW_CONFIDENCE))
    _add_calibration(section, known, known.labels, evaluation)
    return section


def mistakes_sheet(known: Predictions, limit: int) -> Sheet:
    """Return the misclassified images, the `limit` most confident errors first."""
    assert known.labels is not None
    rows, predicted, confidence = known.hardest, known.predicted, known.confidence
    wrong = np.flatnonzero(predicted[rows] != known.labels[rows])
    wrong = wrong[np.argsort(-confidence[rows[wrong]], kind="stable")][:limit]
    n_errors = int((predicted != known.labels).sum())
    title = f"{n_errors:,} of {pluralize(len(known), 'image')} misclassified"
    if len(wrong) < n_errors:
        title += f"; the {len(wrong)} most confident errors"
    classes = class_labels(known.classes)
    captions = [
        (f"{classes[known.labels[row]]} → {classes[predicted[row]]}", f"{confidence[row]:.3f}")
        for row in rows[wrong]
    ]
    note = "Below each image: true → predicted class, and the confidence of the prediction."
    return Sheet("misclassified", title, note, known.images[wrong], captions)


def low_confidence_sheet(known: Predictions, limit: int) -> Sheet:
    """Return the `limit` correct predictions of the lowest confidence."""
    assert known.labels is not None
    rows, confidence = known.hardest, known.confidence
    correct = np.flatnonzero(known.predicted[rows] == known.labels[rows])
    correct = correct[np.argsort(confidence[rows[correct]], kind="stable")][:limit]
    classes = class_labels(known.classes)
    captions = [(classes[known.labels[row]], f"{confidence[row]:.3f}") for row in rows[correct]]
    return Sheet(
        "low-confidence",
        "Correct predictions of the lowest confidence",
        "Below each image: its class, and the confidence of the prediction.",
        known.images[correct],
        captions,
    )


def _add_calibration(
    section: Section, known: Predictions, labels: NDArray[np.int64], evaluation: Evaluation
) -> None:
    """Add the reliability diagram and the risk–coverage curve."""
    is_correct = known.predicted == labels
    bins = calibration_bins(known.confidence, is_correct)
    drawn = figures.reliability(bins, evaluation.calibration_error)
    section.add_figure("reliability", "Accuracy against confidence, in ten bins", drawn)
    drawn = figures.risk_coverage(*risk_coverage(known.confidence, is_correct))
    section.add_figure("risk-coverage", "Error rate if low confidence is rejected", drawn)


def label_issues_section(artifacts: RunArtifacts) -> Section:
    """Images whose label may be wrong."""
    section = Section("label-issues", "Label issues", chapter="The data")
    validation = artifacts.validation
    if validation is None or validation.labels is None:
        section.add_text(
            "No images were held out, and the labels of training images cannot be judged by the "
            "network that was trained on them."
        )
        return section
    accuracy = float((validation.predicted == validation.labels).mean())
    if accuracy < MIN_ACCURACY_FOR_LABEL_ISSUES:
        section.add_text(
            f"Labels are not checked: of a network with an accuracy of {accuracy:.1%} most "
            "suspicions would be its own mistakes. From "
            f"{MIN_ACCURACY_FOR_LABEL_ISSUES:.0%} on this section lists labels to check."
        )
        return section
    issues = label_issues(validation)
    section.add_text(
        f"Confident learning (Northcutt, Jiang and Chuang 2021) suspects "
        f"{pluralize(len(issues), 'label')} of {len(validation):,} images that were predicted by "
        "networks not trained on them."
        + (" It can be wrong: check each of them by eye." if len(issues) else "")
    )
    image_of = {row: index for index, row in enumerate(validation.hardest.tolist())}
    shown = [row for row in issues.tolist() if row in image_of][:MAX_LABEL_ISSUES]
    if shown:
        classes, predicted = class_labels(validation.classes), validation.predicted
        captions = [
            (
                f"{classes[validation.labels[row]]} or {classes[predicted[row]]}?",
                f"row {validation.indices[row] + 1:,}",
            )
            for row in shown
        ]
        title = f"{pluralize(len(shown), 'label')} to check, the most suspicious first"
        note = "Below each image: its label, the predicted class, and its row in the data."
        images = validation.images[[image_of[row] for row in shown]]
        section.add_sheet(Sheet("suspects", title, note, images, captions))
    return section


def ensemble_section(artifacts: RunArtifacts) -> Section:
    """Accuracy by the number of members, and their disagreement."""
    section = Section("ensemble", "Ensemble members", chapter="Ensembles")
    if artifacts.recipe.ensemble.member_overrides:
        _add_overrides(section, artifacts.recipe.ensemble)
    predictions = artifacts.predictions
    if predictions is None or predictions.member_predictions is None:
        section.add_text("The run has no predictions, so its members are not compared.")
        return section
    members = predictions.member_predictions
    n_disputed = int((members != members[0]).any(axis=0).sum())
    section.add_text(
        f"The {len(members)} members agree on all but {n_disputed:,} of {len(predictions):,} "
        "images."
    )
    if predictions.labels is not None:
        section.add_text(
            "The accuracies below are of a plurality vote of the members; the recognizer averages "
            "their probabilities instead."
        )
        curve = ensemble_size_curve(members, predictions.labels, len(predictions.classes))
        drawn = figures.ensemble_size(curve, len(predictions))
        section.add_figure("ensemble-size", "Accuracy by the number of members", drawn)
    drawn = figures.disagreement(members)
    alt_text = "Number of images on which each two members disagree"
    section.add_figure("disagreement", alt_text, drawn)
    section.add_sheet(_disputed(predictions))
    return section


def _add_overrides(section: Section, ensemble: EnsembleConfig) -> None:
    """Add what differs between members, one row for those that have the same overrides."""
    count, rows = len(ensemble.member_overrides), []
    for index, overrides in enumerate(ensemble.member_overrides[: ensemble.members]):
        members = ", ".join(str(number + 1) for number in range(index, ensemble.members, count))
        values = [
            f"{name}.{field} = {value}"
            for name, fields in overrides.items()
            for field, value in fields.items()
        ]
        rows.append((members, ", ".join(values) or "none"))
    section.add_table("How members differ from the recipe", ("members", "overrides"), rows)


def _disputed(predictions: Predictions) -> Sheet:
    """Return the images with the most votes against the plurality of the members."""
    assert predictions.member_predictions is not None
    members = predictions.member_predictions[:, predictions.hardest]
    classes = class_labels(predictions.classes)
    votes = np.eye(len(classes), dtype=np.int64)[members].sum(axis=0)
    outvoted = len(members) - votes.max(axis=1)
    order = np.argsort(-outvoted, kind="stable")[:MAX_DISPUTED]
    order = order[outvoted[order] > 0]
    captions = []
    for image in order:
        ranked = [index for index in np.argsort(-votes[image]) if votes[image, index]][:3]
        names = [classes[index] for index in ranked]
        counts = ":".join(str(votes[image, index]) for index in ranked)
        row = predictions.indices[predictions.hardest[image]] + 1
        captions.append((f"{', '.join(names[:-1])} or {names[-1]}?", f"{counts} row\u00a0{row:,}"))
    return Sheet(
        "disputed",
        f"The {pluralize(len(order), 'image')} that the members disagree on most",
        "Below each image: the predicted classes, the votes for each, and its row in the file.",
        predictions.images[order],
        captions,
    )


def ensemble_size_curve(
    member_predictions: NDArray[np.int64], labels: NDArray[np.int64], n_classes: int
) -> dict[int, NDArray[np.float64]]:
    """Return the accuracies of ensembles of 1, 2, … members that vote by plurality.

    Args:
        member_predictions: int64 [M, N], the class that each member predicted.
        labels: int64 [N], the true classes.
        n_classes: number of classes.

    Returns:
        For each number of members, float64 [K]: every member alone, 20 ensembles drawn at random
        for the sizes between, all members together.
    """
    rng = np.random.default_rng(0)
    n_members = len(member_predictions)
    votes = np.eye(n_classes, dtype=np.int16)[member_predictions]
    curve = {}
    for size in range(1, n_members + 1):
        n_ensembles = 1 if size == n_members else SAMPLED_ENSEMBLES
        ensembles = [rng.permutation(n_members)[:size] for _ in range(n_ensembles)]
        if size == 1:
            ensembles = [np.array([index]) for index in range(n_members)]
        curve[size] = np.array(
            [(votes[chosen].sum(axis=0).argmax(axis=1) == labels).mean() for chosen in ensembles]
        )
    return curve


def label_issues(predictions: Predictions) -> NDArray[np.int64]:
    """Return the positions in `predictions` of labels that are probably wrong, worst first.

    Confident learning (Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in
    dataset labels", JAIR 70, 2021, arXiv 1911.00068): an image is suspected if another class is as
    probable as that class usually is for its own images. The predictions must come from networks
    not trained on these images, or they would repeat the labels.

    Args:
        predictions: with labels.

    Returns:
        int64 [K], by the probability of the label.
    """
    assert predictions.labels is not None
    # Only classes with an image have a usual probability.
    present, labels = np.unique(predictions.labels, return_inverse=True)
    probabilities = predictions.probabilities[:, present].astype(np.float64)
    usual = np.bincount(labels, probabilities[np.arange(len(labels)), labels]) / np.bincount(labels)
    confident = np.where(probabilities >= usual, probabilities, 0)
    of_label = confident[np.arange(len(labels)), labels]
    suspects = np.flatnonzero(confident.max(axis=1) > of_label)
    return suspects[np.argsort(probabilities[suspects, labels[suspects]], kind="stable")]

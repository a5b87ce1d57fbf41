"""Predictions of images whose labels are not known: what can be checked by eye."""

import numpy as np

from tenfold.formatting import pluralize
from tenfold.predictions import Predictions
from tenfold.report import figures
from tenfold.report.artifacts import RunArtifacts
from tenfold.report.figures.style import class_labels
from tenfold.report.html import Section, Sheet, join_items

LOW_CONFIDENCE = 0.9
MAX_LEAST_CERTAIN = 36


def predictions_section(artifacts: RunArtifacts, predictions: Predictions) -> Section:
    """A sample of the predictions, how often each class is predicted, and the least certain.

    Args:
        artifacts: what the run left.
        predictions: of the test images.
    """
    section = Section("predictions", "Predictions", chapter="Submitting")
    n_low = int((predictions.confidence < LOW_CONFIDENCE).sum())
    section.add_text(
        f"The labels of these {pluralize(len(predictions), 'image')} are not known, so the "
        f"predictions cannot be scored here. {n_low:,} of them have a confidence below "
        f"{LOW_CONFIDENCE:.0%}."
    )
    counts = np.bincount(predictions.predicted, minlength=len(predictions.classes)).tolist()
    predicted = dict(zip(predictions.classes, counts, strict=True))
    if len(predictions.sampled):
        drawn = figures.sample_sheet(
            predictions.sampled_images,
            predictions.predicted[predictions.sampled],
            predictions.classes,
            drawn_from=len(predictions),
            title="Random test images by predicted class",
        )
        section.add_figure("predictions", "Random test images, a row per predicted class", drawn)
        section.add_text(
            "In the sheet of random images each row is one predicted class: an image that does not "
            "belong in its row is a mistake."
        )
    if artifacts.data is not None:
        parts = [artifacts.data["train"], artifacts.data["valid"]]
        training = {
            name: sum(part["classes"].get(name, 0) for part in parts if part is not None)
            for name in predicted
        }
        section.add_text(_largest_difference(predicted, training))
        drawn = figures.predicted_classes(predicted, training)
        alt_text = f"Bars of the number of predictions of each class: {join_items(predicted)}"
        section.add_figure("predicted-classes", alt_text, drawn)
    section.add_sheet(least_certain_sheet(predictions, MAX_LEAST_CERTAIN))
    return section


def _largest_difference(predicted: dict[str, int], training: dict[str, int]) -> str:
    """Say which class is predicted most unlike its share of the training images."""
    n, n_training = max(1, sum(predicted.values())), max(1, sum(training.values()))
    shares = {name: (predicted[name] / n, training[name] / n_training) for name in predicted}
    name = max(shares, key=lambda each: abs(shares[each][0] - shares[each][1]))
    now, before = shares[name]
    return (
        f"Classes are predicted about as often as they occur in the training data; the largest "
        f"difference is that of {name}: {now:.1%} of the predictions, {before:.1%} of the labels."
        if abs(now - before) < 0.02
        else f"Class {name} is predicted for {now:.1%} of the images, but has {before:.1%} of the "
        "labels in the training data: the test images differ, or the network is biased."
    )


def least_certain_sheet(predictions: Predictions, limit: int) -> Sheet:
    """Return the `limit` images of the lowest confidence, with their two most probable classes."""
    rows = predictions.hardest[:limit]
    two = np.argsort(-predictions.probabilities[rows], axis=1, kind="stable")[:, :2]
    labels, captions = class_labels(predictions.classes), []
    for row, classes in zip(rows, two, strict=True):
        names = [labels[index] for index in classes]
        values = [f"{predictions.probabilities[row, index]:.2f}" for index in classes]
        captions.append((" or ".join(names) + "?", " / ".join(values)))
    return Sheet(
        "least-certain",
        f"The {pluralize(len(rows), 'test image')} predicted with the lowest confidence",
        "Below each image: the two most probable classes, the predicted one first, and their "
        "probabilities.",
        predictions.images[: len(rows)],
        captions,
    )

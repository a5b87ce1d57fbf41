"""Where a recognizer errs, how far it can be trusted, and what its members add."""

import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.config import EnsembleConfig
from tenfold.formatting import pluralize
from tenfold.metrics import Evaluation, calibration_bins, evaluate_probabilities, risk_coverage
from tenfold.predictions import Predictions
from tenfold.report import figures
from tenfold.report.artifacts import RunArtifacts
from tenfold.report.html import Section, Table, listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MOST_MISTAKES = 240
UNSURE_SHOWN = 36
LABELS_SHOWN = 60
DRAWN_ENSEMBLES = 20


def error_analysis(evidence: RunArtifacts) -> Section:
    """Mistakes, class by class and one by one, and how far its confidence can be trusted."""
    section = Section("errors", "Where it errs")
    known = evidence.predictions
    if known is None or known.labels is None:
        known = evidence.held_out
    if known is None or known.labels is None:
        section.say("There are no answers whose truth is known, so no mistakes can be pluralize.")
        return section
    section.say(_judged_by(evidence, known))
    found = evaluate_probabilities(known.probabilities, known.labels, known.classes)
    confusion = figures.confusion_matrix(found.confusion, known.classes)
    section.draw("confusion", f"Confusion matrix, mistakes coloured: {found.score}", confusion)
    whole = figures.confusion_matrix(found.confusion, known.classes, mistakes_only=False)
    section.draw("confusion-all", "The same confusion matrix, the diagonal coloured too", whole)
    title = "How well each class is read"
    per_class = figures.scores(found.per_class, title, "Each class by its truth.")
    accuracies = {name: f"{score.accuracy:.4f}" for name, score in found.per_class.items()}
    section.draw("per-class", f"Accuracy of each class: {listed(accuracies)}", per_class)
    _draw_galleries(section, known, known.labels)
    _draw_trust(section, known, known.labels, found)
    return section


def _draw_galleries(section: Section, known: Predictions, labels: NDArray[np.int64]) -> None:
    """All mistakes, and the right answers that were nearly wrong."""
    shown, answers, confidence = known.hardest, known.predicted, known.confidence
    wrong = answers[shown] != labels[shown]
    count = int((answers != labels).sum())
    pictured = figures.mistakes(
        known.images[wrong],
        labels[shown[wrong]],
        answers[shown[wrong]],
        confidence[shown[wrong]],
        known.classes,
        limit=MOST_MISTAKES,
        of=len(known),
        misread=count,
    )
    section.draw(
        "mistakes", f"{pluralize(count, 'misread image')}, with truth and answer", pictured
    )
    right = shown[~wrong]
    order = np.argsort(confidence[right], kind="stable")[:UNSURE_SHOWN]
    gallery = figures.gallery(
        known.images[~wrong][order],
        [f"{known.classes[labels[row]]}\n{confidence[row]:.3f}" for row in right[order]],
        "Right, but only just: the least certain of the correct answers",
        "Below each image: the answer, which is right, and its confidence.",
    )
    section.draw("unsure", "The correct answers of least confidence", gallery)


def _draw_trust(
    section: Section, known: Predictions, labels: NDArray[np.int64], found: Evaluation
) -> None:
    """Calibration, and what withholding buys."""
    right = known.predicted == labels
    diagram = figures.reliability(
        calibration_bins(known.confidence, right), found.calibration_error
    )
    section.draw("reliability", "Share of wrong answers against what confidence admits", diagram)
    coverage, accuracy = risk_coverage(known.confidence, right)
    curve = figures.risk_coverage(coverage, accuracy)
    section.draw("risk-coverage", "Share of wrong answers if the least sure are withheld", curve)


def label_issues_section(evidence: RunArtifacts) -> Section:
    """Labels that look wrong, as pictures to judge."""
    section = Section("labels", "Labels that look wrong")
    held_out = evidence.held_out
    if held_out is None or held_out.labels is None:
        section.say("No images were held out, and a network only repeats the labels it learned.")
        return section
    doubtful = label_issues(held_out)
    section.say(
        f"Confident learning (Northcutt, Jiang and Chuang 2021, through cleanlab) doubts "
        f"{pluralize(len(doubtful), 'label')} of {len(held_out):,} images that were judged by "
        "networks which had not learned them. It is an opinion: look, and judge for yourself."
    )
    places = {place: index for index, place in enumerate(held_out.hardest.tolist())}
    pictured = [place for place in doubtful.tolist() if place in places][:LABELS_SHOWN]
    if pictured:
        answers = held_out.predicted
        captions = [
            f"{held_out.classes[held_out.labels[place]]} or {held_out.classes[answers[place]]}?\n"
            f"row {held_out.indices[place] + 1:,}"
            for place in pictured
        ]
        gallery = figures.gallery(
            held_out.images[[places[place] for place in pictured]],
            captions,
            f"{pluralize(len(pictured), 'label')} to look at, the most doubtful first",
            "Below each image: its label, what else it looks like, and its row in the data.",
        )
        section.draw("labels", "Images whose label is doubtful", gallery)
    return section


def members_section(evidence: RunArtifacts) -> Section:
    """How accuracy grows with members, and where they disagree."""
    section = Section("members", "The members")
    if evidence.recipe.ensemble.member_overrides:
        section.tables.append(_variants(evidence.recipe.ensemble))
    predictions = evidence.predictions
    if predictions is None or predictions.member_predictions is None:
        section.say("No images to predict were answered here, so members are not compared.")
        return section
    votes = predictions.member_predictions
    differ = int((votes != votes[0]).any(axis=0).sum())
    section.say(
        f"All {len(votes)} members agree on all but {differ:,} of {len(predictions):,} images."
    )
    if predictions.labels is not None:
        found = ensemble_size_curve(votes, predictions.labels, len(predictions.classes))
        section.say("Here the members vote; in the recognizer their probabilities are averaged.")
        drawn = figures.ensemble_size(found, len(predictions))
        section.draw("members", "Accuracy of one, two and more members voting together", drawn)
    drawn = figures.disagreement(votes)
    section.draw("disagreement", "On how many images each two members disagree", drawn)
    section.draw(
        "split-votes", "The images that members disagree on most", _split_votes(predictions)
    )
    return section


def _variants(ensemble: EnsembleConfig) -> Table:
    """List what members have of their own, one row for those that take the same turn."""
    count, rows = len(ensemble.member_overrides), []
    for index, variant in enumerate(ensemble.member_overrides[: ensemble.members]):
        whose = ", ".join(str(number + 1) for number in range(index, ensemble.members, count))
        choices = [
            f"{section}.{name} = {value}"
            for section, fields in variant.items()
            for name, value in fields.items()
        ]
        rows.append((whose, ", ".join(choices) or "nothing"))
    return Table("What members have of their own", ("member", "choices"), rows)


def _split_votes(predictions: Predictions) -> "Figure":
    """Draw the images on which the most members were outvoted."""
    assert predictions.member_predictions is not None
    votes, classes = predictions.member_predictions[:, predictions.hardest], predictions.classes
    ballots = np.eye(len(classes), dtype=np.int64)[votes].sum(axis=0)
    outvoted = len(votes) - ballots.max(axis=1)
    order = np.argsort(-outvoted, kind="stable")[:UNSURE_SHOWN]
    order = order[outvoted[order] > 0]
    captions = []
    for place in order:
        ranked = [index for index in np.argsort(-ballots[place]) if ballots[place, index]][:3]
        said = " ".join(f"{classes[index]}×{ballots[place, index]}" for index in ranked)
        captions.append(f"{said}\nrow {predictions.indices[predictions.hardest[place]] + 1:,}")
    return figures.gallery(
        predictions.images[order],
        captions,
        f"The {pluralize(len(order), 'image')} that members disagree on most",
        "Below each image: the answers × how many members gave each, and its row in the file.",
    )


def ensemble_size_curve(
    votes: NDArray[np.int64], labels: NDArray[np.int64], n_classes: int
) -> dict[int, NDArray[np.float64]]:
    """Return for 1, 2, … members the accuracies of some ensembles of so many, by plurality.

    Args:
        votes: int64 [M, N], what each member answered.
        labels: int64 [N], the truth.
        n_classes: how many answers there are to choose from.
    """
    rng = np.random.default_rng(0)
    ballots = np.eye(n_classes, dtype=np.int16)[votes]
    found = {}
    for count in range(1, len(votes) + 1):
        several = 1 if count == len(votes) else DRAWN_ENSEMBLES
        chosen = [rng.permutation(len(votes))[:count] for _ in range(several)]
        if count == 1:
            chosen = [np.array([index]) for index in range(len(votes))]
        found[count] = np.array(
            [(ballots[some].sum(axis=0).argmax(axis=1) == labels).mean() for some in chosen]
        )
    return found


def _judged_by(evidence: RunArtifacts, known: Predictions) -> str:
    if known is evidence.held_out:
        return f"Counted on the {len(known):,} images that were held out of training."
    return (
        f"Counted on the {len(known):,} images to predict, whose truth is known here and was "
        "looked up after the answers were written."
    )


def label_issues(answers: Predictions) -> NDArray[np.int64]:
    """Return the places in `answers` of labels that are probably wrong, the most doubtful first.

    Confident learning compares each class's usual confidence with what is said of images of other
    labels (Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset
    labels", JAIR 70, 2021, arXiv 1911.00068). The answers must come from networks that never saw
    the images, or they would repeat the labels.

    Args:
        answers: with labels.

    Returns:
        int64 [K]; empty where there is nothing to compare, as with one class alone.
    """
    assert answers.labels is not None
    if len(np.unique(answers.labels)) < 2:
        return np.empty(0, np.int64)
    from cleanlab.filter import find_label_issues  # noqa: PLC0415 - slow to import

    # Classes without an image would make columns that nothing is known of.
    present, labels = np.unique(answers.labels, return_inverse=True)
    probabilities = answers.probabilities[:, present].astype(np.float64) + 1e-12
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it cannot doubt the label of a class's only image
        found: NDArray[np.int64] = find_label_issues(
            labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
        )
    return found.astype(np.int64)

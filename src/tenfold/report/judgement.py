"""Where a recognizer errs, how far it can be trusted, and what its members add."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.answers import Answers
from tenfold.choices import Ensemble
from tenfold.report import figures
from tenfold.report.evidence import Evidence
from tenfold.report.labels import suspicious
from tenfold.report.metrics import Evaluation, bands, evaluate, risk_coverage
from tenfold.report.section import Section, Table, listed
from tenfold.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_MISTAKES = 240
UNSURE_SHOWN = 36
LABELS_SHOWN = 60
DRAWN_ENSEMBLES = 20


def where_it_errs(evidence: Evidence) -> Section:
    """Mistakes, class by class and one by one, and how far its confidence can be trusted."""
    section = Section("errors", "Where it errs")
    known = evidence.predictions
    if known is None or known.labels is None:
        known = evidence.held_out
    if known is None or known.labels is None:
        section.say("There are no answers whose truth is known, so no mistakes can be counted.")
        return section
    section.say(_judged_by(evidence, known))
    found = evaluate(known.probabilities, known.labels, known.classes)
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


def _draw_galleries(section: Section, known: Answers, labels: NDArray[np.int64]) -> None:
    """All mistakes, and the right answers that were nearly wrong."""
    shown, answers, confidence = known.shown, known.answers, known.confidence
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
    section.draw("mistakes", f"{counted(count, 'misread image')}, with truth and answer", pictured)
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
    section: Section, known: Answers, labels: NDArray[np.int64], found: Evaluation
) -> None:
    """Calibration, and what withholding buys."""
    right = known.answers == labels
    diagram = figures.reliability(bands(known.confidence, right), found.calibration_error)
    section.draw("reliability", "Share of wrong answers against what confidence admits", diagram)
    coverage, accuracy = risk_coverage(known.confidence, right)
    curve = figures.risk_coverage(coverage, accuracy)
    section.draw("risk-coverage", "Share of wrong answers if the least sure are withheld", curve)


def doubtful_labels(evidence: Evidence) -> Section:
    """Labels that look wrong, as pictures to judge."""
    section = Section("labels", "Labels that look wrong")
    held_out = evidence.held_out
    if held_out is None or held_out.labels is None:
        section.say("No images were held out, and a network only repeats the labels it learned.")
        return section
    doubtful = suspicious(held_out)
    section.say(
        f"Confident learning (Northcutt, Jiang and Chuang 2021, through cleanlab) doubts "
        f"{counted(len(doubtful), 'label')} of {len(held_out):,} images that were judged by "
        "networks which had not learned them. It is an opinion: look, and judge for yourself."
    )
    places = {place: index for index, place in enumerate(held_out.shown.tolist())}
    pictured = [place for place in doubtful.tolist() if place in places][:LABELS_SHOWN]
    if pictured:
        answers = held_out.answers
        captions = [
            f"{held_out.classes[held_out.labels[place]]} or {held_out.classes[answers[place]]}?\n"
            f"row {held_out.rows[place] + 1:,}"
            for place in pictured
        ]
        gallery = figures.gallery(
            held_out.images[[places[place] for place in pictured]],
            captions,
            f"{counted(len(pictured), 'label')} to look at, the most doubtful first",
            "Below each image: its label, what else it looks like, and its row in the data.",
        )
        section.draw("labels", "Images whose label is doubtful", gallery)
    return section


def the_members(evidence: Evidence) -> Section:
    """How accuracy grows with members, and where they disagree."""
    section = Section("members", "The members")
    if evidence.recipe.ensemble.variants:
        section.tables.append(_variants(evidence.recipe.ensemble))
    predictions = evidence.predictions
    if predictions is None or predictions.votes is None:
        section.say("No images to predict were answered here, so members are not compared.")
        return section
    votes = predictions.votes
    differ = int((votes != votes[0]).any(axis=0).sum())
    section.say(
        f"All {len(votes)} members agree on all but {differ:,} of {len(predictions):,} images."
    )
    if predictions.labels is not None:
        found = growth(votes, predictions.labels, len(predictions.classes))
        section.say("Here the members vote; in the recognizer their probabilities are averaged.")
        drawn = figures.growth_with_members(found, len(predictions))
        section.draw("members", "Accuracy of one, two and more members voting together", drawn)
    drawn = figures.disagreement(votes)
    section.draw("disagreement", "On how many images each two members disagree", drawn)
    section.draw(
        "split-votes", "The images that members disagree on most", _split_votes(predictions)
    )
    return section


def _variants(ensemble: Ensemble) -> Table:
    """List what members have of their own, one row for those that take the same turn."""
    count, rows = len(ensemble.variants), []
    for index, variant in enumerate(ensemble.variants[: ensemble.members]):
        whose = ", ".join(str(number + 1) for number in range(index, ensemble.members, count))
        choices = [
            f"{section}.{name} = {value}"
            for section, fields in variant.items()
            for name, value in fields.items()
        ]
        rows.append((whose, ", ".join(choices) or "nothing"))
    return Table("What members have of their own", ("member", "choices"), rows)


def _split_votes(predictions: Answers) -> "Figure":
    """Draw the images on which the most members were outvoted."""
    assert predictions.votes is not None
    votes, classes = predictions.votes[:, predictions.shown], predictions.classes
    ballots = np.eye(len(classes), dtype=np.int64)[votes].sum(axis=0)
    outvoted = len(votes) - ballots.max(axis=1)
    order = np.argsort(-outvoted, kind="stable")[:UNSURE_SHOWN]
    order = order[outvoted[order] > 0]
    captions = []
    for place in order:
        ranked = [index for index in np.argsort(-ballots[place]) if ballots[place, index]][:3]
        said = " ".join(f"{classes[index]}×{ballots[place, index]}" for index in ranked)
        captions.append(f"{said}\nrow {predictions.rows[predictions.shown[place]] + 1:,}")
    return figures.gallery(
        predictions.images[order],
        captions,
        f"The {counted(len(order), 'image')} that members disagree on most",
        "Below each image: the answers × how many members gave each, and its row in the file.",
    )


def growth(
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


def _judged_by(evidence: Evidence, known: Answers) -> str:
    if known is evidence.held_out:
        return f"Counted on the {len(known):,} images that were held out of training."
    return (
        f"Counted on the {len(known):,} images to predict, whose truth is known here and was "
        "looked up after the answers were written."
    )

"""The report of small real runs, read from its HTML."""

import json
import logging
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import html5lib
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tenfold.data import Dataset
from tenfold.errors import DataError, OutputError, RecognizerError
from tenfold.metrics import Score
from tenfold.networks import build
from tenfold.predictions import Predictions
from tenfold.preprocessing import Preprocessing
from tenfold.recipe import Recipe
from tenfold.recognizer import Member
from tenfold.report import figures
from tenfold.report.artifacts import Examples, RunArtifacts
from tenfold.report.error_analysis import (
    ensemble_section,
    ensemble_size_curve,
    errors_section,
    label_issues,
    label_issues_section,
)
from tenfold.report.head import rank_rows, rank_sentence, run_head
from tenfold.report.interpretability import interpretability_section
from tenfold.report.run_report import (
    augmentation_section,
    details_section,
    run_sections,
    write_report,
)
from tenfold.run import run, train_and_report
from tenfold.run_folder import RUN_FORMAT, RunFolder

SMALL = ("network.width=4", "training.max_epochs=2", "data.validation=0.25")
FIGURES = {
    "classes", "samples", "ink", "augmentation", "training", "feature-maps", "responses",
    "attribution", "confusion", "per-class", "reliability", "risk-coverage",
}  # fmt: skip
SECTIONS = [
    "errors", "label-issues", "training", "data", "augmentation", "network", "interpretability",
    "details",
]  # fmt: skip


class Page(HTMLParser):
    """The content of a page: ids of sections, figures by name, small images, and all text."""

    def __init__(self, path):
        super().__init__()
        self.sections, self.figures, self.text = [], {}, ""
        self.tiles, self.links, self.headings = 0, [], set()
        self.figure = None
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "section" and values["id"] != "strip":
            self.sections.append(values["id"])
        elif tag == "figure":
            self.figure = values["id"].removeprefix("figure-")
        elif tag == "img" and self.figure is not None:
            self.figures[self.figure] = values
        elif tag == "img":
            self.tiles += 1
        elif tag == "h3":
            self.headings.add(values["id"])
        elif tag == "a":
            self.links.append(values["href"])
        for name in ("src", "href"):
            assert not (values.get(name) or "").startswith(("http", "//")), "needs a network"

    def handle_endtag(self, tag):
        if tag == "figure":
            self.figure = None

    def handle_data(self, data):
        self.text += data.replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory):
    """A real run with known test labels; copy it before changing it."""
    train_set, test_set = digits.select(np.arange(1500)), digits.select(np.arange(1500, 2000))
    out = tmp_path_factory.mktemp("report") / "run"
    recipe = Recipe.load("quick", overrides=SMALL)
    run(
        train_set,
        test_set.without_labels(),
        recipe,
        out,
        test_labels=test_set.label_names(),
    )
    return out


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def one_image(finished, monkeypatch):
    """Every figure is the same PNG: for tests of which figures there are, not of their looks."""
    content = (finished / "figures" / "responses.png").read_bytes()
    monkeypatch.setattr(figures, "as_png", lambda _figure: content)


def test_a_report_has_every_section_and_figure(finished):
    page = Page(finished / "report.html")
    assert page.sections == SECTIONS
    assert set(page.figures) == FIGURES
    for name, image in page.figures.items():
        assert (finished / "figures" / f"{name}.png").is_file()
        assert image["src"].startswith("data:image/png;base64,")
        assert len(image["alt"]) > 20
    score = json.loads((finished / "score.json").read_text())
    expected = f"{score['correct']:,} of {score['n']:,} predictions are correct"
    assert f"On the test images, {expected}: accuracy {score['accuracy']:.4f} (95% int" in page.text
    assert "The held-out images were not used for model selection." in page.text
    assert "Measured on 500 test images, whose labels were read after the submission" in page.text
    assert "Incomplete run" not in page.text
    assert {"misclassified", "low-confidence"} <= page.headings
    n_errors = score["n"] - score["correct"]
    assert page.tiles == min(n_errors, 12) + min(n_errors, 240) + 36
    for name in ("submission.csv", "recipe.toml", "recognizer.safetensors"):
        assert name in page.links
        assert (finished / name).is_file()


def test_the_page_is_valid_html_that_begins_with_the_score(finished):
    text = (finished / "report.html").read_text("utf-8")
    html5lib.HTMLParser(strict=True).parse(text)
    assert text.count('<p class="lead">') == 1
    assert '<p class="lead">On the test images, ' in text


def test_tensorboard_shows_samples_and_confusion_too(finished):
    events = EventAccumulator(str(finished / "tensorboard")).Reload()
    assert {"samples", "confusion", "what the network sees"} <= set(events.Tags()["images"])


def test_a_report_can_be_written_again_from_the_saved_files(copied, caplog):
    before = Page(copied / "report.html")
    events = list((copied / "tensorboard").iterdir())
    (copied / "report.html").unlink()
    shutil.rmtree(copied / "figures")
    with caplog.at_level(logging.INFO, logger="tenfold"):
        write_report(copied)
    assert len(list((copied / "tensorboard").iterdir())) == len(events)
    assert caplog.messages[0] == "report: evaluating predictions and drawing figures"
    assert all(re.match(r"report: (\w+|drawing \d+ of 12 figures)", m) for m in caplog.messages)
    again = Page(copied / "report.html")
    assert again.figures == before.figures
    assert again.text == before.text


def test_another_digit_can_be_shown(copied, finished):
    write_report(copied, digit="7")
    changed = [
        name
        for name in sorted(FIGURES)
        if (copied / "figures" / f"{name}.png").read_bytes()
        != (finished / "figures" / f"{name}.png").read_bytes()
    ]
    assert changed == ["augmentation", "feature-maps"]
    with pytest.raises(DataError, match="--digit x: the run has no such image, expected one of 0"):
        write_report(copied, digit="x")


@pytest.mark.parametrize(
    ("missing", "lost"),
    [
        ("recognizer", {"feature-maps", "responses", "attribution"}),
        ("validation", set()),
        ("predictions", set()),  # the held-out images are used instead
        (
            "examples",
            {"samples", "ink", "augmentation", "feature-maps", "responses", "attribution"},
        ),
        ("metrics", {"training"}),
        ("steps", set()),
        ("data", {"classes"}),
        ("environment", set()),
        ("summary", set()),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "damaged"])
@pytest.mark.usefixtures("one_image")
def test_a_missing_or_damaged_file_leaves_the_rest(copied, missing, lost, damage):
    part = getattr(RunFolder(copied), missing)
    if damage == "missing":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:-20] + b"\xff")
    page = Page(write_report(copied))
    assert page.sections == SECTIONS
    assert set(page.figures) == FIGURES - lost
    is_optional = damage == "missing" and missing in {"summary", "predictions"}
    assert (part.name in page.text) == (not is_optional)


@pytest.mark.parametrize("content", [json.dumps({"format": RUN_FORMAT}), "3"])
@pytest.mark.usefixtures("one_image")
def test_files_of_another_schema_leave_the_rest(copied, content):
    run = RunFolder(copied)
    parts = (run.data, run.environment, run.summary, run.score, run.metrics, run.steps)
    for part in parts:
        part.write_text(content + "\n")
    page = Page(write_report(copied))
    assert page.sections == SECTIONS
    assert set(page.figures) == FIGURES - {"classes", "training"}
    for part in parts:
        assert f"{part.name} cannot be read" in page.text


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("summary", "train_s", "abc", "run.json cannot be read (train_s is 'abc', expected"),
        ("data", "checks", 7, "data.json cannot be read (checks is 7, expected: an object)"),
        ("data", "checks.problems", [3], "data.json cannot be read (checks.problems.0 is 3"),
        ("data", "train.classes", {}, "data.json cannot be read (train.classes is {}"),
        ("environment", "versions", 4, "environment.json cannot be read (versions is 4"),
        ("score", "n", 0, "score.json cannot be read (n is 0, expected"),
        ("score", "correct", 501, "score.json cannot be read (501 of 500 predictions are correct"),
        ("metrics", "epoch", "one", "metrics.jsonl cannot be read (epoch is 'one'"),
        ("steps", "train_loss", [], "steps.jsonl cannot be read (train_loss is []"),
    ],
)
def test_a_value_of_another_type_is_reported_as_damage(copied, part, field, value, message):
    path = getattr(RunFolder(copied), part)
    first, *lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    whole = json.loads(first)
    *outer, name = field.split(".")
    inner = whole
    for each in outer:
        inner = inner[each]
    inner[name] = value
    path.write_text("\n".join([json.dumps(whole), *lines]) + "\n")
    (found,) = RunArtifacts.read(copied).missing
    assert found.startswith(message)


@pytest.mark.usefixtures("one_image")
def test_a_tensorboard_folder_that_is_a_file_has_an_error_message(copied):
    shutil.rmtree(copied / "tensorboard")
    (copied / "tensorboard").write_text("")
    with pytest.raises(OutputError, match="tensorboard: cannot be written to"):
        write_report(copied)


def test_a_folder_without_a_run_has_an_error_message(tmp_path):
    with pytest.raises(RecognizerError, match=r"holds no run, expected a run folder"):
        write_report(tmp_path)


def test_a_run_of_an_older_version_has_an_error_message(copied):
    environment = json.loads((copied / "environment.json").read_text())
    del environment["format"]
    (copied / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(RecognizerError, match="was written by an older version of tenfold"):
        RunArtifacts.read(copied)


def test_a_report_without_any_held_out_image(digits, tmp_path):
    recipe = Recipe.load("quick", overrides=[*SMALL, "data.validation=none"])
    three = digits.select(np.array([1, 3, 5]))  # 0, 1, 9
    train_and_report(three, recipe, RunFolder(tmp_path / "run"))
    page = Page(tmp_path / "run" / "report.html")
    assert page.sections == SECTIONS
    assert "No images were held out, so the run cannot predict its own score." in page.text
    assert "There are no predictions with known labels" in page.text
    assert "confusion" not in page.figures


def test_one_class_and_no_error(finished):
    """Sections of predictions that are all correct, and all of one class."""
    artifacts = RunArtifacts.read(finished)
    ones = artifacts.predictions
    probabilities = np.zeros_like(ones.probabilities)
    probabilities[:, 1] = 1
    ones = replace(ones, probabilities=probabilities, labels=np.ones(len(ones), np.int64))
    artifacts = replace(artifacts, predictions=ones, validation=ones)
    section = errors_section(artifacts)
    alt_texts = {figure.name: figure.alt_text for figure in section.figures}
    assert section.sheets[0].title == "0 of 500 images misclassified"
    assert not section.sheets[0].captions
    assert alt_texts["per-class"] == "Accuracy of each class: 1: 1.0000"
    assert "suspects 0 labels of 500 images" in label_issues_section(artifacts).paragraphs[0]


def test_a_class_with_one_image_gives_no_warning(digits):
    three = digits.select(np.array([1, 3, 21]))  # 0, 1, 0
    probabilities = np.full((3, 10), 0.1, np.float32)
    assert not len(label_issues(Predictions.from_probabilities(three, probabilities)))


def test_a_wrong_label_is_found(digits):
    probabilities = np.eye(10, dtype=np.float32)[digits.labels] * 0.9 + 0.01
    labels = digits.labels.copy()
    labels[[5, 70]] = (labels[[5, 70]] + 1) % 10
    wrong = Dataset(digits.images, labels, digits.classes, "digits with two wrong labels")
    predictions = Predictions.from_probabilities(wrong, probabilities)
    assert sorted(label_issues(predictions)) == [5, 70]


def test_the_ensemble_size_curve_counts_plurality_votes():
    labels = np.zeros(4, np.int64)
    members = np.array([[0, 0, 1, 1], [0, 0, 0, 2], [0, 3, 0, 0]])
    curve = ensemble_size_curve(members, labels, 4)
    assert curve[1].tolist() == [0.5, 0.75, 0.75]
    assert curve[3].tolist() == [1.0]  # of the last image a tie, which the lowest class wins
    assert len(curve[2]) == 20


def test_the_report_of_an_ensemble_compares_its_members(digits, tmp_path):
    recipe = Recipe.load("quick", overrides=[*SMALL, "ensemble.members=2"])
    train_set, test_set = digits.select(np.arange(1500)), digits.select(np.arange(1500, 2000))
    out = tmp_path / "run"
    labels = test_set.label_names()
    run(train_set, test_set.without_labels(), recipe, out, test_labels=labels, executor="inline")
    page = Page(out / "report.html")
    assert page.sections == [*SECTIONS[:2], "ensemble", *SECTIONS[2:]]
    assert {"ensemble-size", "disagreement"} <= set(page.figures)
    assert "disputed" in page.headings
    votes = RunArtifacts.read(out).predictions.member_predictions
    n_disputed = int((votes[0] != votes[1]).sum())
    assert f"The 2 members agree on all but {n_disputed} of 500 images." in page.text


def test_the_curves_are_those_of_the_first_member_of_this_recipe(tmp_path):
    """Members of an earlier start, with another seed or damaged, are ignored."""
    recipe = Recipe.load("best", seed=1)
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    stale = Recipe.load("best", seed=0, overrides=["training.max_epochs=7"])
    members = {"b": recipe.member(0), "c": recipe.member(1), "d": stale.member(0)}
    for epoch, (name, member) in enumerate(members.items(), start=1):
        run = RunFolder(tmp_path / "members" / name)
        run.path.mkdir(parents=True)
        run.recipe.write_text(member.to_toml())
        run.metrics.write_text(json.dumps({"epoch": epoch}) + "\n")
    (tmp_path / "members" / "a").mkdir()
    (tmp_path / "members" / "a" / "recipe.toml").write_text("[train")
    assert RunArtifacts.read(tmp_path).history == [{"epoch": 1}]
    shutil.rmtree(tmp_path / "members" / "b")
    assert "metrics.jsonl is missing" in RunArtifacts.read(tmp_path).missing


def test_members_with_overrides_are_listed(tmp_path):
    overridden = "[{augmentation = {mixup = 0.4}}, {preprocessing = {alignment = 'deskew'}}, {}]"
    overrides = ["ensemble.members=5", f"ensemble.member_overrides={overridden}"]
    recipe = Recipe.load("quick", overrides=overrides)
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    artifacts = RunArtifacts.read(tmp_path)
    section = augmentation_section(artifacts, None)
    assert "This is the augmentation of the first member." in section.paragraphs[0]
    assert "mixed with up to 40% of another image" in section.paragraphs[1]
    assert ensemble_section(artifacts).tables[0].rows == [
        ("1, 4", "augmentation.mixup = 0.4"),
        ("2, 5", "preprocessing.alignment = deskew"),
        ("3", "none"),
    ]


def with_unknown_labels(finished, digits):
    """The artifacts of the run as if nobody had known the labels of its 500 test images."""
    artifacts = RunArtifacts.read(finished)
    unlabelled = digits.select(np.arange(1500, 2000)).without_labels()
    predictions = Predictions.from_probabilities(
        unlabelled, artifacts.predictions.probabilities, classes=digits.classes
    )
    return replace(artifacts, predictions=predictions, score=None)


def test_predictions_without_labels_can_be_checked_by_eye(finished, digits):
    artifacts = with_unknown_labels(finished, digits)
    first, *_ = sections = list(run_sections(artifacts, None))
    assert [section.name for section in sections] == ["predictions", *SECTIONS]
    assert [figure.name for figure in first.figures] == ["predictions", "predicted-classes"]
    (sheet,) = first.sheets
    assert len(sheet.captions) == 36
    least = artifacts.predictions.confidence.argmin()
    two = np.argsort(-artifacts.predictions.probabilities[least])[:2]
    assert sheet.captions[0][0] == f"{two[0]} or {two[1]}?"
    np.testing.assert_array_equal(sheet.images[0], digits.images[1500 + least])
    counts = np.bincount(artifacts.predictions.predicted, minlength=10)
    assert f"0: {counts[0]}, 1: {counts[1]}" in first.figures[1].alt_text


def test_the_head_of_a_run_for_kaggle_predicts_the_score_and_says_how_to_submit(finished, digits):
    artifacts = with_unknown_labels(finished, digits)
    head = run_head(artifacts)
    expected = (artifacts.validation.predicted == artifacts.validation.labels).mean()
    assert head.value == f"{expected:.2%}"
    assert head.label == "predicted leaderboard score"
    assert "On the held-out images" in head.sentences[0]
    assert dict(head.tiles)["predictions"] == "500"
    assert head.next_step[1] == f"tenfold submit {finished / 'submission.csv'}"
    assert head.strip.title == "Mistakes on the held-out images, the most confident first"


def test_the_head_without_a_score_or_with_files_missing(finished):
    artifacts = replace(
        RunArtifacts.read(finished), score=None, validation=None, missing=["run.json is missing"]
    )
    head = run_head(replace(artifacts, predictions=None))
    assert (head.value, head.label, head.strip) == ("", "", None)
    assert head.sentences == ["No images were held out, so the run cannot predict its own score."]
    assert head.warning.startswith("Incomplete run: run.json is missing.")


def test_a_score_is_ranked_among_known_results():
    near = rank_sentence(Score(27_885, 28_000))
    assert "statistically indistinguishable from recipe tiny (0.9958)" in near
    assert "thelastdev" not in near
    assert "above recipe thelastdev (0.9924) and below G. Surma (0.9950)" in rank_sentence(
        Score(993_700, 1_000_000)
    )
    assert "is above what is known to be possible" in rank_sentence(Score(27_999, 28_000))
    rows = rank_rows(Score(27_885, 28_000))
    scores = [float(row[1]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert ("this run", "0.9959", "0.9951–0.9966", "28,000") in rows


def test_known_results_are_of_digits(finished):
    artifacts = RunArtifacts.read(finished)
    letters = replace(artifacts.predictions, classes=tuple("abcdefghij"))
    artifacts = replace(artifacts, predictions=letters)
    assert not any("known results" in sentence for sentence in run_head(artifacts).sentences)
    assert len(details_section(artifacts).tables) == 1


def test_labels_are_not_suspected_by_a_poor_network(finished):
    artifacts = RunArtifacts.read(finished)
    labels = artifacts.validation.predicted.copy()
    labels[: len(labels) // 25] = (labels[: len(labels) // 25] + 1) % 10  # 96% are left
    poor = replace(artifacts, validation=replace(artifacts.validation, labels=labels))
    section = label_issues_section(poor)
    assert "Labels are not checked" in section.paragraphs[0]
    assert not section.sheets


def test_a_recipe_without_augmentation_shows_no_variants(finished):
    artifacts = replace(RunArtifacts.read(finished), recipe=Recipe.load("lenet5"))
    section = augmentation_section(artifacts, None)
    assert section.paragraphs == ["This recipe has no augmentation."]
    assert not section.figures


def test_a_network_without_convolutions_has_no_feature_maps(finished):
    artifacts = RunArtifacts.read(finished)
    config = Recipe.load("logbook-mlp").network
    member = Member(build(config, image_size=28, n_classes=10, seed=0), config, Preprocessing())
    dense = replace(artifacts, recognizer=replace(artifacts.recognizer, members=[member]))
    section = interpretability_section(dense, None)
    assert [figure.name for figure in section.figures] == ["attribution"]
    assert "no convolutions" in section.paragraphs[-1]


def test_every_section_names_a_chapter_that_exists(finished):
    chapters = {
        line.split(". ", 1)[1]
        for path in (Path(__file__).parents[2] / "docs" / "tutorial").glob("[0-9]*.md")
        for line in path.read_text("utf-8").splitlines()
        if re.match(r"# \d+\. ", line)
    }
    sections = run_sections(RunArtifacts.read(finished), None)
    assert {section.chapter for section in sections} <= chapters


def test_examples_survive_saving_and_loading(digits, tmp_path):
    examples = Examples.from_dataset(digits)
    assert examples.images.class_counts() == dict.fromkeys(digits.classes, 12)
    np.testing.assert_allclose(
        examples.means[3], digits.images[digits.labels == 3].mean(axis=0) / 255, atol=1e-6
    )
    examples.save(tmp_path / "examples.safetensors")
    again = Examples.load(tmp_path / "examples.safetensors")
    np.testing.assert_array_equal(again.images.images, examples.images.images)
    np.testing.assert_array_equal(again.ink, examples.ink)
    assert again.n == 2000


def test_files_of_other_images_than_the_recognizers_are_left_out(copied, digits):
    """Each alone is whole; together they do not fit."""
    small = Dataset(digits.images[:50, ::2, ::2].copy(), digits.labels[:50], digits.classes)
    Examples.from_dataset(small).save(copied / "examples.safetensors")
    other = Dataset(digits.images[:9], np.arange(9) % 2, ("a", "b"))
    halves = np.full((9, 2), 0.5, np.float32)
    for name in ("validation", "predictions"):
        Predictions.from_probabilities(other, halves).save(copied / f"{name}.safetensors")
    missing = RunArtifacts.read(copied).missing
    for name in ("examples", "validation", "predictions"):
        assert f"{name}.safetensors is of other classes or images than the recognizer" in missing
    assert "Incomplete run: " in Page(write_report(copied)).text


@pytest.mark.parametrize("name", ["environment", "data", "run", "score"])
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' + "1" * 5000 + "}", '"\\ud800"', "\x00"])
def test_no_json_however_crafted_stops_a_report(copied, name, text):
    (copied / f"{name}.json").write_text(text)
    assert any(each.startswith(f"{name}.json") for each in RunArtifacts.read(copied).missing)


def test_half_a_character_in_a_name_does_not_stop_a_report(copied):
    data = json.loads((copied / "data.json").read_text())
    data["checks"]["train"]["name"] = "\ud800.csv"
    (copied / "data.json").write_text(json.dumps(data))
    assert "?.csv" in Page(write_report(copied)).text

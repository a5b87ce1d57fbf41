"""The report of small real runs, read as a stranger's browser would."""

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import html5lib
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tenfold.errors import DataError, OutputError, RecognizerError
from tenfold.recipe import Recipe
from tenfold.report import figures
from tenfold.report.artifacts import Examples, RunArtifacts
from tenfold.report.run_report import write_report
from tenfold.run import run, train
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import NullCallback

SMALL = ("network.width=4", "training.max_epochs=2", "data.validation=0.25")
PICTURES = {
    "classes", "samples", "ink", "augmentation", "training", "filters", "feature-maps",
    "attribution", "confusion", "confusion-all", "per-class", "mistakes", "unsure", "reliability",
    "risk-coverage",
}  # fmt: skip
SECTIONS = ["answer", "data", "augmentation", "network", "training", "seeing", "errors", "labels"]


class Notes(NullCallback):
    """A listener that remembers what it was told."""

    def __init__(self):
        self.told = []

    def note(self, sentence):
        self.told.append(sentence)


class Page(HTMLParser):
    """What a page holds: sections, pictures with their texts, and all that is written."""

    def __init__(self, path):
        super().__init__()
        self.sections, self.pictures, self.text = [], {}, ""
        self.figure = None
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "section":
            self.sections.append(values["id"])
        elif tag == "figure":
            self.figure = values["id"].removeprefix("figure-")
        elif tag == "img":
            self.pictures[self.figure] = values
        for name in ("src", "href"):
            assert not (values.get(name) or "").startswith(("http", "//")), "needs a network"

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory):
    """A real run whose truth is known; copy it before changing it."""
    labelled, held_back = digits.select(np.arange(1500)), digits.select(np.arange(1500, 2000))
    out = tmp_path_factory.mktemp("report") / "run"
    recipe = Recipe.load("quick", overrides=SMALL)
    run(
        labelled,
        held_back.without_labels(),
        recipe,
        out,
        truth=held_back.label_names(),
        listener=NullCallback(),
    )
    return out


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def one_picture(finished, monkeypatch):
    """Every figure becomes the same PNG: which ones there are is asked, not how they look."""
    content = (finished / "figures" / "filters.png").read_bytes()
    monkeypatch.setattr(figures, "as_png", lambda _figure: content)


def test_a_run_leaves_its_report_with_every_section_and_picture(finished):
    page = Page(finished / "report.html")
    assert page.sections == SECTIONS
    assert set(page.pictures) - {"labels"} == PICTURES
    for name, picture in page.pictures.items():
        assert (finished / "figures" / f"{name}.png").is_file()
        assert picture["src"].startswith("data:image/png;base64,")
        assert len(picture["alt"]) > 20
    known = json.loads((finished / "score.json").read_text())
    assert f"{known['correct']:,} of {known['n']:,} were read right" in page.text
    assert "cannot be shown" not in page.text


def test_the_page_is_valid_html(finished):
    html5lib.HTMLParser(strict=True).parse((finished / "report.html").read_text("utf-8"))


def test_tensorboard_shows_samples_and_confusion_too(finished):
    events = EventAccumulator(str(finished / "tensorboard")).Reload()
    assert {"samples", "confusion", "what the network sees"} <= set(events.Tags()["images"])


def test_it_is_made_again_from_what_was_saved(copied):
    before = Page(copied / "report.html")
    events = list((copied / "tensorboard").iterdir())
    (copied / "report.html").unlink()
    shutil.rmtree(copied / "figures")
    write_report(copied)
    assert len(list((copied / "tensorboard").iterdir())) == len(events)
    again = Page(copied / "report.html")
    assert again.pictures == before.pictures
    assert again.text == before.text


def test_another_digit_may_be_followed(copied, finished):
    write_report(copied, digit="7")
    changed = [
        name
        for name in sorted(PICTURES)
        if (copied / "figures" / f"{name}.png").read_bytes()
        != (finished / "figures" / f"{name}.png").read_bytes()
    ]
    assert changed == ["augmentation", "feature-maps"]
    with pytest.raises(DataError, match="--digit x: the run has no such image, expected one of 0"):
        write_report(copied, digit="x")


@pytest.mark.parametrize(
    ("missing", "lost"),
    [
        ("recognizer", {"filters", "feature-maps", "attribution"}),
        ("held_out", {"labels"}),
        ("predictions", set()),  # the images held out take their place
        ("examples", {"samples", "ink", "augmentation", "filters", "feature-maps", "attribution"}),
        ("metrics", {"training"}),
        ("steps", set()),
        ("data", {"classes"}),
        ("environment", set()),
        ("summary", set()),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "damaged"])
@pytest.mark.usefixtures("one_picture")
def test_a_missing_or_damaged_part_leaves_the_rest(copied, missing, lost, damage):
    part = getattr(RunFolder(copied), missing)
    if damage == "missing":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:-20] + b"\xff")
    page = Page(write_report(copied))
    assert page.sections == SECTIONS
    assert set(page.pictures) | {"labels"} == (PICTURES - lost) | {"labels"}
    is_optional = damage == "missing" and missing in {"summary", "predictions"}
    assert (part.name in page.text) == (not is_optional)


@pytest.mark.parametrize("content", ["{}", "3"])
@pytest.mark.usefixtures("one_picture")
def test_parts_that_say_something_else_leave_the_rest(copied, content):
    run = RunFolder(copied)
    parts = (run.data, run.environment, run.summary, run.score, run.metrics, run.steps)
    for part in parts:
        part.write_text(content + "\n")
    page = Page(write_report(copied))
    assert page.sections == SECTIONS
    assert set(page.pictures) | {"labels"} == (PICTURES - {"classes", "training"}) | {"labels"}
    for part in parts:
        assert f"{part.name} cannot be read" in page.text


@pytest.mark.parametrize(
    ("part", "place", "value", "says"),
    [
        ("summary", "train_s", "abc", "run.json cannot be read (train_s is 'abc', expected"),
        ("data", "checks", 7, "data.json cannot be read (checks is 7, expected: an object)"),
        ("data", "checks.problems", [3], "data.json cannot be read (checks.problems.0 is 3"),
        ("data", "train.classes", {}, "data.json cannot be read (train.classes is {}"),
        ("environment", "versions", 4, "environment.json cannot be read (versions is 4"),
        ("score", "n", 0, "score.json cannot be read (n is 0, expected"),
        ("score", "correct", 501, "score.json cannot be read (501 of 500 answers are correct"),
        ("metrics", "epoch", "one", "metrics.jsonl cannot be read (epoch is 'one'"),
        ("steps", "train_loss", [], "steps.jsonl cannot be read (train_loss is []"),
    ],
)
def test_a_part_with_another_type_in_it_is_noted_as_damaged(copied, part, place, value, says):
    path = getattr(RunFolder(copied), part)
    first, *lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    whole = json.loads(first)
    *outer, name = place.split(".")
    inner = whole
    for each in outer:
        inner = inner[each]
    inner[name] = value
    path.write_text("\n".join([json.dumps(whole), *lines]) + "\n")
    (gap,) = RunArtifacts.read(copied).missing
    assert gap.startswith(says)


@pytest.mark.usefixtures("one_picture")
def test_a_tensorboard_folder_that_takes_nothing_is_a_sentence(copied):
    shutil.rmtree(copied / "tensorboard")
    (copied / "tensorboard").write_text("")
    with pytest.raises(OutputError, match="tensorboard: cannot be written to"):
        write_report(copied)


def test_a_folder_that_holds_no_run_is_a_sentence(tmp_path):
    with pytest.raises(RecognizerError, match=r"holds no run, expected a run folder"):
        write_report(tmp_path)


def test_a_report_without_any_held_out_image(digits, tmp_path):
    recipe = Recipe.load("quick", overrides=[*SMALL, "data.validation=none"])
    three = digits.select(np.array([1, 3, 5]))  # 0, 1, 9
    train(three, recipe, RunFolder(tmp_path / "run"), listener=NullCallback())
    page = Page(tmp_path / "run" / "report.html")
    assert page.sections == SECTIONS
    assert "No images were held out" in page.text
    assert "confusion" not in page.pictures


def test_one_class_and_no_mistake(finished):
    """Sections made of answers that are all right, and all of one class."""
    from tenfold.report.error_analysis import error_analysis, label_issues_section

    evidence = RunArtifacts.read(finished)
    ones = evidence.predictions
    sure = np.zeros_like(ones.probabilities)
    sure[:, 1] = 1
    ones = replace(ones, probabilities=sure, labels=np.ones(len(ones), np.int64))
    evidence = replace(evidence, predictions=ones, held_out=ones)
    errors = error_analysis(evidence)
    assert {picture.name for picture in errors.pictures} >= {"confusion", "mistakes", "unsure"}
    assert "doubts 0 labels" in label_issues_section(evidence).paragraphs[0]


def test_a_class_with_one_image_is_no_warning(digits):
    from tenfold.predictions import Predictions
    from tenfold.report.error_analysis import label_issues

    three = digits.select(np.array([1, 3, 21]))  # 0, 1, 0
    said = np.full((3, 10), 0.1, np.float32)
    assert not len(label_issues(Predictions.from_probabilities(three, said)))


def test_an_ensemble_shows_what_its_members_add(digits, tmp_path):
    recipe = Recipe.load("quick", overrides=[*SMALL, "ensemble.members=2"])
    labelled, held_back = digits.select(np.arange(1500)), digits.select(np.arange(1500, 2000))
    out = tmp_path / "run"
    run(labelled, held_back.without_labels(), recipe, out, truth=held_back.label_names(),
        listener=NullCallback())  # fmt: skip
    page = Page(out / "report.html")
    assert page.sections == [*SECTIONS, "members"]
    assert {"members", "disagreement", "split-votes"} <= set(page.pictures)
    assert "All 2 members agree on all but" in page.text


def test_the_curves_are_those_of_the_first_member_of_this_recipe(tmp_path):
    """What an earlier start left beside it, with a smaller seed or torn, is passed over."""
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


def test_members_that_differ_are_told_apart(tmp_path):
    from tenfold.report.error_analysis import members_section
    from tenfold.report.run_report import augmentation_section

    variants = "[{augmentation = {mixup = 0.4}}, {preprocessing = {alignment = 'deskew'}}, {}]"
    overrides = ["ensemble.members=5", f"ensemble.member_overrides={variants}"]
    recipe = Recipe.load("quick", overrides=overrides)
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    evidence = RunArtifacts.read(tmp_path)
    told = augmentation_section(evidence, None)
    assert "this is what the first sees" in told.paragraphs[0]
    assert "mixed with up to 40 % of another digit" in told.paragraphs[1]
    assert told.tables[0].caption == "As the first member has it"
    assert ("mixup", "0.4") in told.tables[0].rows
    assert members_section(evidence).tables[0].rows == [
        ("1, 4", "augmentation.mixup = 0.4"),
        ("2, 5", "preprocessing.alignment = deskew"),
        ("3", "nothing"),
    ]


def test_examples_come_back_from_disk(digits, tmp_path):
    examples = Examples.of(digits)
    assert examples.images.class_counts() == dict.fromkeys(digits.classes, 12)
    np.testing.assert_allclose(
        examples.means[3], digits.images[digits.labels == 3].mean(axis=0) / 255, atol=1e-6
    )
    examples.save(tmp_path / "examples.safetensors")
    again = Examples.load(tmp_path / "examples.safetensors")
    np.testing.assert_array_equal(again.images.images, examples.images.images)
    np.testing.assert_array_equal(again.ink, examples.ink)
    assert again.n == 2000

"""A score that means something else is said: images seen before, inverted or transposed ones."""

import json
import re
import sys

import numpy as np
import pytest

import tenfold
from tenfold import models
from tenfold.cli import main
from tenfold.data import Dataset, read, read_submission
from tenfold.data.fingerprints import Fingerprints, fingerprints
from tenfold.data.request import ReadOptions
from tenfold.errors import RecognizerError
from tenfold.evaluation import SYMMETRIES, evaluate_labelled
from tenfold.predict import predict_file
from tenfold.recipe import Recipe
from tenfold.run_folder import RunFolder
from tenfold.training.train import train

TINY = Recipe.load("lenet5", overrides=["training.max_epochs=1"])


@pytest.fixture(scope="module")
def box():
    return models.load()


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["tenfold", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, *capsys.readouterr()


def test_upright_digits_have_no_warning(box, digits):
    found = evaluate_labelled(box, digits)
    assert found.evaluation.score.accuracy > 0.98
    assert (found.warnings, found.n_trained, found.others) == ((), None, None)


def test_inverted_digits_have_the_sentence_of_check(box, digits):
    found = evaluate_labelled(box, digits.inverted())
    assert found.warnings == tenfold.check(digits.inverted()).problems
    assert "--invert inverts the pixels" in found.warnings[0]


@pytest.mark.parametrize("name", SYMMETRIES)
def test_digits_another_way_round_are_noticed(box, digits, name):
    turned = np.ascontiguousarray(SYMMETRIES[name](digits.images))
    found = evaluate_labelled(box, Dataset(turned, digits.labels, digits.classes, "turned.csv"))
    (warning,) = found.warnings
    assert re.match("turned.csv: of 256 images (9.|100)% are recognized when ", warning)
    back = {"turned by 90° to the left": "turned by 90° to the right"}
    back |= {right: left for left, right in back.items()}
    assert f"are recognized when {back.get(name, name)}, and" in warning
    assert ("--transpose transposes them" in warning) == (name == "transposed")


def test_digits_that_no_turn_helps_have_no_such_warning(box, digits):
    labels = np.roll(digits.require_labels(), 1)
    found = evaluate_labelled(box, Dataset(digits.images, labels, digits.classes))
    assert found.evaluation.score.accuracy < 0.2
    assert found.warnings == ()


def test_equal_images_alone_have_equal_fingerprints(mnist):
    own = fingerprints(mnist[0].images)
    assert (own.dtype, len(np.unique(own))) == (np.int64, 60_000)
    assert np.array_equal(own[:5], fingerprints(mnist[0].images[:5].copy()))
    assert not set(own) & set(fingerprints(mnist[1].images))


def test_a_run_knows_the_images_that_it_saw(digits, tmp_path):
    folder = RunFolder(tmp_path / "run")
    labelled = digits.select(np.arange(600))
    result = train(labelled, TINY, folder)
    seen = Fingerprints.load(folder.seen_images)
    trained, validated = seen.find(digits.images)
    assert np.array_equal(np.flatnonzero(validated), np.sort(result.validation.indices))
    assert np.array_equal(np.flatnonzero(trained | validated), np.arange(600))

    found = evaluate_labelled(result.recognizer, digits.select(np.arange(500, 700)), seen)
    assert found.n_trained + found.n_validated == 100
    alone = evaluate_labelled(result.recognizer, digits.select(np.arange(600, 700)), seen)
    assert found.others == alone.evaluation.score == alone.others
    assert evaluate_labelled(result.recognizer, labelled, seen).others is None


def test_with_validation_images_of_ones_own_both_are_known(digits, tmp_path):
    first, second = digits.select(np.arange(400)), digits.select(np.arange(400, 500))
    tenfold.fit(first, second, TINY, out=tmp_path / "run")
    seen = Fingerprints.load(tmp_path / "run" / "seen-images.safetensors")
    assert (len(seen.trained), len(seen.validated)) == (400, 100)


def test_damaged_fingerprints_error_message(tmp_path):
    path = tmp_path / "seen-images.safetensors"
    path.write_bytes(b"x" * 100)
    with pytest.raises(RecognizerError, match=r"seen-images\.safetensors: is damaged"):
        Fingerprints.load(path)


# The command line


@pytest.fixture(scope="module")
def files(digits, digits_csv, tmp_path_factory):
    """test.csv and train.csv of dark ink on bright paper, and transposed."""
    folder = tmp_path_factory.mktemp("odd")
    for name in ("train", "test"):
        plain = read(digits_csv / f"{name}.csv").images
        known = (digits_csv / "train.csv").read_text().splitlines()[1:]
        for kind, images in (("inverted", 255 - plain), ("transposed", plain.transpose(0, 2, 1))):
            rows = [",".join(map(str, image.ravel().tolist())) for image in images]
            header = ",".join(f"pixel{number}" for number in range(784))
            if name == "train":
                rows = [f"{line[0]},{row}" for line, row in zip(known, rows, strict=True)]
                header = f"label,{header}"
            (folder / f"{name}-{kind}.csv").write_text("\n".join([header, *rows, ""]))
    return folder


@pytest.mark.parametrize("as_json", [False, True])
def test_predict_warns_of_inverted_images_on_stderr(
    monkeypatch, capsys, files, digits_csv, tmp_path, as_json
):
    out = tmp_path / "submission.csv"
    arguments = ["predict", files / "test-inverted.csv", "--out", out]
    code, text, err = command(monkeypatch, capsys, *arguments, *["--json"] * as_json)
    assert code == 0
    assert "warning: test-inverted.csv: the border is brighter" in err
    assert not as_json or len(json.loads(text)["labels"]) == 800
    code, text, err = command(monkeypatch, capsys, *arguments, "--invert")
    assert (code, err) == (0, "")
    _, plain = predict_file(None, digits_csv / "test.csv", None)
    assert np.array_equal(read_submission(out), plain.predicted)


@pytest.mark.parametrize("kind", ["inverted", "transposed"])
def test_evaluate_warns_and_the_option_mends_it(monkeypatch, capsys, files, kind):
    arguments = ["evaluate", models.BOX, files / f"train-{kind}.csv", "--json"]
    code, text, err = command(monkeypatch, capsys, *arguments)
    option = {"inverted": "--invert", "transposed": "--transpose"}[kind]
    assert (code, f"{option} " in err, err.count("warning")) == (0, True, 1)
    assert json.loads(text)["accuracy"] < 0.5
    assert json.loads(text)["warnings"][0] in err
    code, text, err = command(monkeypatch, capsys, *arguments, option)
    assert json.loads(text)["accuracy"] > 0.98
    assert "warning" not in err


def test_evaluate_says_what_was_trained_on(monkeypatch, capsys, digits_csv, tmp_path):
    out = tmp_path / "run"
    few = tmp_path / "few.csv"
    lines = (digits_csv / "train.csv").read_text().splitlines(keepends=True)
    few.write_text("".join(lines[:601]))
    train_arguments = ["--recipe", "lenet5", "--set", "training.max_epochs=1", "--out", out]
    assert command(monkeypatch, capsys, "train", few, *train_arguments)[0] == 0
    _, text, _ = command(monkeypatch, capsys, "evaluate", out, digits_csv / "train.csv")
    assert "540 of these 1,200 images were trained on, 60 held out meanwhile" in text
    assert "score on the others: 0." in text
    _, text, _ = command(monkeypatch, capsys, "evaluate", out, few)
    assert "score on the others: there are none" in text
    rest = tmp_path / "rest.csv"
    rest.write_text("".join([lines[0], *lines[601:]]))
    _, text, _ = command(monkeypatch, capsys, "evaluate", out, rest)
    assert "trained on" not in text


def test_predict_file_takes_the_options_of_reading(digits_csv, files, tmp_path):
    found = predict_file(
        None,
        files / "test-inverted.csv",
        tmp_path / "out.csv",
        options=ReadOptions(invert=True),
    )
    plain = predict_file(None, digits_csv / "test.csv", None)
    assert np.array_equal(found[1].predicted, plain[1].predicted)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "s.zip"], "s.zip: ends in '.zip', expected .csv, or .csv.gz for gzip"),
        (["--submission-header", "id"], "expected two names, such as id,label"),
        (["--id", "name"], "line 1 has no column called 'name'"),
        (["--like", "few.csv"], "there are more predictions than the 2 ids"),
        (["--label", "answer"], "no column called 'answer'"),
    ],
)
def test_mistakes_about_the_submission_have_a_sentence(
    monkeypatch, capsys, digits_csv, tmp_path, arguments, sentence
):
    (tmp_path / "few.csv").write_text("id,label\na,0\nb,0\n")
    monkeypatch.chdir(tmp_path)
    code, _, err = command(monkeypatch, capsys, "predict", digits_csv / "test.csv", *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert sentence in err
    assert [path.name for path in tmp_path.iterdir()] == ["few.csv"]


def test_score_matches_the_ids_of_other_competitions(monkeypatch, capsys, tmp_path):
    (tmp_path / "own.csv").write_text("id,label\nb,1\na,cat\nc,3\n")
    (tmp_path / "truth.csv").write_text("id,label\na,cat\nb,2\nc,3\n")
    files = tmp_path / "own.csv", tmp_path / "truth.csv"
    _, text, _ = command(monkeypatch, capsys, "score", *files)
    assert "2 of 3" in text
    (tmp_path / "own.csv").write_text("id,label\nb,1\na,cat\nd,3\n")
    code, _, err = command(monkeypatch, capsys, "score", *files)
    assert code == 2
    assert "has no answer to 'c'" in err


def test_one_archive_trains_and_predicts(monkeypatch, capsys, digits_csv, tmp_path):
    out = tmp_path / "a run"
    arguments = ["--recipe", "lenet5", "--set", "training.max_epochs=1", "--out", out]
    code, text, err = command(monkeypatch, capsys, "run", digits_csv, *arguments)
    assert code == 0, err
    assert len(read_submission(out / "submission.csv")) == 800
    assert "800 images" in text
    code, _, err = command(monkeypatch, capsys, "run", digits_csv / "train.csv", *arguments)
    assert "TEST is missing" in err


def test_a_proposed_command_quotes_spaces(tmp_path):
    from tenfold.cli.train import run_directory
    from tenfold.errors import Interrupted

    with (
        pytest.raises(Interrupted, match=r"--resume --out '.*a run' resumes it"),
        run_directory(TINY, tmp_path / "a run"),
    ):
        raise Interrupted("stopped")

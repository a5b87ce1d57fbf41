"""Answers to files in pieces and in parts, against the answers to the same images at once."""

import os
import shutil
from contextlib import suppress

import numpy as np
import pytest
import torch

from tenfold import data, predict
from tenfold.data import streaming
from tenfold.errors import DataError, JobError, OutputError
from tenfold.jobs import run_jobs
from tenfold.networks import build
from tenfold.predict import predict_file
from tenfold.preprocessing import Preprocessing
from tenfold.recipe import Recipe
from tenfold.recognizer import Member, Recognizer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained network answers as reproducibly as a trained one."""
    path = tmp_path_factory.mktemp("model") / "recognizer.safetensors"
    choices = Recipe.load("lenet5").network
    network = build(choices, image_size=28, n_classes=10, seed=0)
    with torch.no_grad():
        [*network.modules()][-1].weight.mul_(100)  # or every image would be the same digit
    Recognizer([Member(network.eval(), choices, Preprocessing())], data.DIGITS, 28).save(path)
    return path


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(streaming, "BYTES_AT_ONCE", 2**17)


def test_a_file_in_pieces_gives_the_answers_of_the_whole(model, digits_csv, tmp_path):
    out = tmp_path / "submission.csv"
    recognizer, found = predict_file(model, digits_csv / "test.csv", out)
    at_once = recognizer.predict_proba(data.read(digits_csv / "test.csv", labels=False))
    np.testing.assert_allclose(found.confidence, at_once.max(axis=1), atol=0.05)
    assert (found.predicted == at_once.argmax(axis=1)).mean() > 0.99  # batches are cut elsewhere
    assert len(np.unique(found.predicted)) >= 3
    np.testing.assert_array_equal(data.read_submission(out), found.predicted)


def test_parts_as_jobs_give_the_same(model, digits_csv, tmp_path, monkeypatch):
    """The road that a cluster takes, with jobs that run here."""
    monkeypatch.setattr(
        predict, "run_jobs", lambda *jobs, **more: run_jobs(*jobs, **more | {"on": "here"})
    )
    monkeypatch.setattr(predict, "MAX_SHARDS", 3)
    _, here = predict_file(model, digits_csv / "test.csv", tmp_path / "here.csv")
    _, there = predict_file(model, digits_csv / "test.csv", tmp_path / "there.csv", on="ray")
    np.testing.assert_allclose(there.confidence, here.confidence, atol=0.05)
    assert (there.predicted == here.predicted).mean() > 0.99
    np.testing.assert_array_equal(data.read_submission(tmp_path / "there.csv"), there.predicted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.csv", "there.csv"]


@pytest.mark.parametrize("on", ["here", "slurm"])
def test_parts_leave_alone_what_is_not_theirs(model, digits_csv, tmp_path, monkeypatch, on):
    """With "slurm", a place that is none, the jobs do not even begin."""
    monkeypatch.setattr(
        predict, "run_jobs", lambda *jobs, **more: run_jobs(*jobs, **more | {"on": on})
    )
    monkeypatch.setattr(predict, "MAX_SHARDS", 1)
    (tmp_path / "s.parts").mkdir()
    for name in ("precious.txt", "recognizer.safetensors"):
        (tmp_path / "s.parts" / name).write_text("somebody's")
    with suppress(JobError):
        predict_file(model, digits_csv / "test.csv", tmp_path / "s.csv", on="ray")
    kept = {path.name: path.read_text() for path in (tmp_path / "s.parts").iterdir()}
    assert kept == {"precious.txt": "somebody's", "recognizer.safetensors": "somebody's"}


def test_a_file_that_changed_meanwhile_is_answered_anew(model, digits_csv, tmp_path, monkeypatch):
    lines = (digits_csv / "test.csv").read_text().splitlines(keepends=True)
    source, ids = tmp_path / "test.csv", []
    monkeypatch.setattr(
        predict, "run_jobs", lambda jobs, *_, **__: ids.append([job.id for job in jobs]) or 1 / 0
    )
    for at, rows in enumerate((lines[1:], lines[:0:-1])):  # as many bytes, in another order
        source.write_text("".join([lines[0], *rows]))
        os.utime(source, (at, at))
        with pytest.raises(ZeroDivisionError):
            predict_file(model, source, None, on="ray")
    assert not set(ids[0]) & set(ids[1])


@pytest.mark.parametrize("on", ["here", "ray"])
@pytest.mark.parametrize("victim", ["test.csv", "recognizer.safetensors"])
@pytest.mark.parametrize("how", ["its name", "a link"])
def test_no_submission_takes_the_place_of_what_is_read(
    model, digits_csv, tmp_path, on, victim, how
):
    for path in (digits_csv / "test.csv", model):
        shutil.copyfile(path, tmp_path / path.name)
    out = tmp_path / victim
    if how == "a link":
        (tmp_path / "sub").symlink_to(tmp_path)
        out = tmp_path / "sub" / victim
    before = out.read_bytes()
    with pytest.raises(OutputError, match=f"{victim}: is the very file that is read, expected"):
        predict_file(tmp_path, tmp_path / "test.csv", out, on=on)
    assert out.read_bytes() == before


def test_a_file_that_is_not_there_leaves_nothing(model, tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: cannot be read"):
        predict_file(model, tmp_path / "none.csv", tmp_path / "s.csv", on="ray")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_none_leaves_nothing(model, digits_csv, tmp_path):
    with pytest.raises(JobError, match="expected here, ray or ray://host:port"):
        predict_file(model, digits_csv / "test.csv", tmp_path / "s.csv", on="slurm")
    assert list(tmp_path.iterdir()) == []


def test_a_bad_row_late_in_the_file_leaves_no_submission(model, digits_csv, tmp_path):
    lines = (digits_csv / "test.csv").read_text().splitlines()
    lines[-1] = lines[-1].replace("0,", "-1,", 1)
    (tmp_path / "bad.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="line 801, column 'pixel0' holds '-1'"):
        predict_file(model, tmp_path / "bad.csv", tmp_path / "submission.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


@pytest.mark.parametrize("line", [2, 800])
@pytest.mark.parametrize("on", ["here", "ray"])
def test_a_bad_row_leaves_no_new_folder(model, digits_csv, tmp_path, monkeypatch, line, on):
    monkeypatch.setattr(
        predict, "run_jobs", lambda *jobs, **more: run_jobs(*jobs, **more | {"on": "here"})
    )
    monkeypatch.setattr(predict, "MAX_SHARDS", 1)
    lines = (digits_csv / "test.csv").read_text().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace("0,", "nan,", 1)
    (tmp_path / "bad.csv").write_text("".join(lines))
    error = DataError if on == "here" else JobError
    with pytest.raises(error, match=f"line {line}, column 'pixel0' is blank"):
        predict_file(model, tmp_path / "bad.csv", tmp_path / "new" / "deep" / "s.csv", on=on)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_a_header_alone(model, digits_csv, tmp_path):
    header = (digits_csv / "test.csv").read_text().splitlines()[0]
    (tmp_path / "none.csv").write_text(header + "\n")
    with pytest.raises(DataError, match="has a header and no rows"):
        predict_file(model, tmp_path / "none.csv", tmp_path / "submission.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["none.csv"]


def test_images_of_another_size(model, tmp_path):
    header = ",".join(f"pixel{at}" for at in range(16))
    (tmp_path / "small.csv").write_text(header + "\n" + ",".join(["200"] * 16) + "\n")
    with pytest.raises(DataError, match="images of 4 × 4 pixels, expected uint8 28 × 28"):
        predict_file(model, tmp_path / "small.csv", None)


def test_a_part_whose_file_is_not_there(model, tmp_path):
    about = {"source": str(tmp_path / "none.csv"), "bytes": 9, "start": 0, "end": None}
    with pytest.raises(DataError, match="expected the same one on every node"):
        predict.predict_shard(about, tmp_path, lambda _message: None)

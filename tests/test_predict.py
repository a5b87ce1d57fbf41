"""Files predicted in chunks and in shards, against the same images predicted at once."""

import logging
import os
import shutil
import time
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import torch

from tenfold import data, predict
from tenfold.data import streaming
from tenfold.errors import DataError, Interrupted, JobError, OutputError
from tenfold.formatting import ProgressLogger
from tenfold.jobs import InlineExecutor, LocalExecutor
from tenfold.networks import build
from tenfold.predict import predict_file
from tenfold.preprocessing import Preprocessing
from tenfold.recipe import Recipe
from tenfold.recognizer import Member, Recognizer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained network predicts as reproducibly as a trained one."""
    path = tmp_path_factory.mktemp("model") / "recognizer.safetensors"
    settings = Recipe.load("lenet5").network
    network = build(settings, image_size=28, n_classes=10, seed=0)
    with torch.no_grad():
        [*network.modules()][-1].weight.mul_(100)  # or every image would be the same digit
    Recognizer([Member(network.eval(), settings, Preprocessing())], data.DIGITS, 28).save(path)
    return path


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(streaming, "CHUNK_BYTES", 2**17)


def test_a_file_in_chunks_gives_the_predictions_of_the_whole(model, digits_csv, tmp_path):
    out = tmp_path / "submission.csv"
    recognizer, found = predict_file(model, digits_csv / "test.csv", out)
    at_once = recognizer.predict_proba(data.read(digits_csv / "test.csv", labels=False))
    np.testing.assert_allclose(found.confidence, at_once.max(axis=1), atol=0.05)
    assert (found.predicted == at_once.argmax(axis=1)).mean() > 0.99  # batches are cut elsewhere
    assert len(np.unique(found.predicted)) >= 3
    np.testing.assert_array_equal(data.read_submission(out), found.predicted)


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_shards_as_jobs_give_the_same(model, digits_csv, tmp_path, monkeypatch, executor):
    monkeypatch.setattr(predict, "MAX_SHARDS", 3)
    where = LocalExecutor() if executor == "local" else "inline"
    _, whole = predict_file(model, digits_csv / "test.csv", tmp_path / "whole.csv")
    _, shards = predict_file(
        model, digits_csv / "test.csv", tmp_path / "shards.csv", executor=where
    )
    np.testing.assert_allclose(shards.confidence, whole.confidence, atol=0.05)
    assert (shards.predicted == whole.predicted).mean() > 0.99
    np.testing.assert_array_equal(data.read_submission(tmp_path / "shards.csv"), shards.predicted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards.csv", "whole.csv"]


def test_finished_shards_are_not_predicted_again(model, digits_csv, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "MAX_SHARDS", 3)
    out, started = tmp_path / "submission.csv", []

    def until_the_second(job, folder, emit):
        started.append(job.name)
        if len(started) == 2:
            raise KeyboardInterrupt
        return predict.predict_shard(job.description, folder, emit)

    for _ in range(2):
        with suppress(Interrupted):
            predict_file(
                model, digits_csv / "test.csv", out, executor=InlineExecutor(until_the_second)
            )
    assert started == [f"shard {n} of 3" for n in (1, 2, 2, 3)]
    _, whole = predict_file(model, digits_csv / "test.csv", None)
    assert (data.read_submission(out) == whole.predicted).mean() > 0.99


def fail(job, folder, emit):
    raise DataError("no good")


@pytest.mark.parametrize("executor", ["inline", InlineExecutor(fail)])
def test_shards_leave_alone_what_is_not_theirs(model, digits_csv, tmp_path, monkeypatch, executor):
    monkeypatch.setattr(predict, "MAX_SHARDS", 1)
    (tmp_path / "s.shards").mkdir()
    for name in ("precious.txt", "recognizer.safetensors"):
        (tmp_path / "s.shards" / name).write_text("somebody's")
    with suppress(JobError):
        predict_file(model, digits_csv / "test.csv", tmp_path / "s.csv", executor=executor)
    kept = {path.name: path.read_text() for path in (tmp_path / "s.shards").iterdir()}
    assert kept == {"precious.txt": "somebody's", "recognizer.safetensors": "somebody's"}


def test_progress_counts_the_images_of_all_chunks(model, digits_csv, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="tenfold")
    monkeypatch.setattr(predict, "ProgressLogger", partial(ProgressLogger, interval_s=0))
    predict_file(model, digits_csv / "test.csv", None)
    counts = [int(message.removesuffix(" images")) for message in caplog.messages]
    assert len(counts) > 1
    assert counts == sorted(set(counts))
    assert counts[-1] == 800


def test_progress_of_jobs_counts_shards(model, digits_csv, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="tenfold")
    monkeypatch.setattr(predict, "ProgressLogger", partial(ProgressLogger, interval_s=0))
    monkeypatch.setattr(predict, "MAX_SHARDS", 3)
    predict_file(model, digits_csv / "test.csv", tmp_path / "s.csv", executor="inline")
    shards = [message for message in caplog.messages if message.endswith(" shards")]
    assert shards == ["1 of 3 shards", "2 of 3 shards", "3 of 3 shards"]


def test_progress_is_logged_once_in_an_interval(caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="tenfold")
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    log = ProgressLogger(logging.getLogger("tenfold.tests"), "images", interval_s=4.0)
    for done in range(0, 10_000, 500):
        log(done, 28_000)
        now += 0.5
    assert caplog.messages == ["4,000 of 28,000 images", "8,000 of 28,000 images"]


def test_a_file_that_changed_meanwhile_is_predicted_anew(model, digits_csv, tmp_path):
    lines = (digits_csv / "test.csv").read_text().splitlines(keepends=True)
    source, ids = tmp_path / "test.csv", []

    def stop(job, folder, emit):
        ids.append(job.id)
        raise DataError("no good")

    for at, rows in enumerate((lines[1:], lines[:0:-1])):  # as many bytes, in another order
        source.write_text("".join([lines[0], *rows]))
        os.utime(source, (at, at))
        with pytest.raises(JobError, match="no good"):
            predict_file(model, source, None, executor=InlineExecutor(stop))
    assert len(ids) == len(set(ids)) == 2


@pytest.mark.parametrize("executor", ["local", "inline"])
@pytest.mark.parametrize("victim", ["test.csv", "recognizer.safetensors"])
@pytest.mark.parametrize("how", ["its name", "a link"])
def test_no_submission_takes_the_place_of_what_is_read(
    model, digits_csv, tmp_path, executor, victim, how
):
    for path in (digits_csv / "test.csv", model):
        shutil.copyfile(path, tmp_path / path.name)
    out = tmp_path / victim
    if how == "a link":
        (tmp_path / "sub").symlink_to(tmp_path)
        out = tmp_path / "sub" / victim
    before = out.read_bytes()
    with pytest.raises(OutputError, match=f"{victim}: is the very file that is read, expected"):
        predict_file(tmp_path, tmp_path / "test.csv", out, executor=executor)
    assert out.read_bytes() == before


def test_a_file_that_is_not_there_leaves_nothing(model, tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: cannot be read"):
        predict_file(model, tmp_path / "none.csv", tmp_path / "s.csv", executor="inline")
    assert list(tmp_path.iterdir()) == []


def test_an_executor_that_does_not_exist_leaves_nothing(model, digits_csv, tmp_path):
    with pytest.raises(JobError, match="expected local, ray or ray://host:port"):
        predict_file(model, digits_csv / "test.csv", tmp_path / "s.csv", executor="slurm")
    assert list(tmp_path.iterdir()) == []


def test_a_bad_row_late_in_the_file_leaves_no_submission(model, digits_csv, tmp_path):
    lines = (digits_csv / "test.csv").read_text().splitlines()
    lines[-1] = lines[-1].replace("0,", "-1,", 1)
    (tmp_path / "bad.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="line 801, column 'pixel0' holds '-1'"):
        predict_file(model, tmp_path / "bad.csv", tmp_path / "submission.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


@pytest.mark.parametrize("line", [2, 800])
@pytest.mark.parametrize("executor", ["local", "inline"])
def test_a_bad_row_leaves_no_new_folder(model, digits_csv, tmp_path, monkeypatch, line, executor):
    monkeypatch.setattr(predict, "MAX_SHARDS", 1)
    lines = (digits_csv / "test.csv").read_text().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace("0,", "nan,", 1)
    (tmp_path / "bad.csv").write_text("".join(lines))
    error = DataError if executor == "local" else JobError
    with pytest.raises(error, match=f"line {line}, column 'pixel0' is blank"):
        predict_file(
            model, tmp_path / "bad.csv", tmp_path / "new" / "deep" / "s.csv", executor=executor
        )
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


def test_a_shard_whose_file_is_not_there(model, tmp_path):
    description = {"source": str(tmp_path / "none.csv"), "bytes": 9, "start": 0, "end": None}
    with pytest.raises(DataError, match="expected the same one on every node"):
        predict.predict_shard(description, tmp_path, lambda _progress: None)

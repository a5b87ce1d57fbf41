"""docs/your-data.md: each of its commands works as written, and reads the digits of the CSV."""

import io
import json
import re
import runpy
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tenfold.cli import main
from tenfold.data import read, read_submission

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "your-data.md").read_text("utf-8")
WRITE = SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / "data" / "test_formats.py")))
N_TRAIN, N_TEST = 120, 80
COMMANDS = [
    command.replace("\\|", "|")
    for command in re.findall(r"\| `((?:cat .*?\| )?tenfold .*?)` \|$", PAGE, re.MULTILINE)
]


@pytest.fixture(scope="module")
def train(digits_csv):
    return read(digits_csv / "train.csv", labels=True).select(np.arange(N_TRAIN), "train.csv")


@pytest.fixture(scope="module")
def test(digits_csv):
    return read(digits_csv / "test.csv", labels=False).select(np.arange(N_TEST), "test.csv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, train, test):
    """The files that the page names."""
    import pyarrow.parquet as pq

    place = tmp_path_factory.mktemp("your-data")
    table = WRITE.labelled(train)
    WRITE.kaggle(place, train, test)
    for name, text in {
        "mnist_train.csv": "no header, label first", "mnist_784.csv": "class last",
        "mnist_784.arff": "ARFF", "train.tsv": "tabs",
    }.items():  # fmt: skip
        (place / name).write_bytes(WRITE.TEXTS[text](table))
    (place / "digits.csv").write_bytes(WRITE.last(table, [*WRITE.PIXELS, "answer"]))
    (place / "train.csv.gz").write_bytes(WRITE.gzip.compress((place / "train.csv").read_bytes()))
    pq.write_table(WRITE.arrow_table(train, True, "columns"), place / "train.parquet")
    hub = place / "train-00000-of-00001.parquet"
    pq.write_table(WRITE.arrow_table(train, True, "structs"), hub)
    for make in (WRITE.npz, WRITE.npy):
        make(place, train, test)
    WRITE.zipped(place, train, test)
    labels = train.label_names().astype(np.uint8)
    for name, array in (("train-images-idx3", train.images), ("train-labels-idx1", labels)):
        (place / f"{name}-ubyte.gz").write_bytes(WRITE.gzip.compress(WRITE.idx(array)))
    WRITE.tar("gz")(place, train, test)
    (place / "mnist.gz").rename(place / "mnist_png.tar.gz")
    (place / "mnist_png" / "training").rename(place / "digits")
    WRITE.classes(place, train, test)
    WRITE.table_of_labels(place / "x", train, test)
    (place / "x" / "digits").rename(place / "pictures")
    ids = np.column_stack([np.arange(N_TEST), WRITE.flat(test)])
    (place / "kannada.csv").write_bytes(WRITE.to_text(ids, ["id", *WRITE.PIXELS]))
    rows = "".join(f"{number},0\n" for number in range(N_TEST))
    (place / "sample_submission.csv").write_text("id,label\n" + rows)
    return place


def tenfold(monkeypatch, command, folder):
    """Run a command line of the page in this process."""
    source, _, own = command.rpartition(" | ")
    if source:
        content = (folder / source.removeprefix("cat ")).read_bytes()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", shlex.split(own))
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main()
    return SimpleNamespace(code=ended.value.code, out=out.getvalue(), err=err.getvalue())


def test_the_page_has_a_command_in_each_row():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "`tenfold" in line]
    assert len(COMMANDS) >= len(rows) - 1 > 20


@pytest.mark.parametrize("command", [each for each in COMMANDS if "tenfold check" in each])
def test_check_sees_the_digits_of_the_csv(monkeypatch, folder, command, train, test):
    done = tenfold(monkeypatch, command + " --json", folder)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    if command.endswith("check test.csv"):
        assert (found["train"]["rows"], found["train"]["class_counts"]) == (N_TEST, {})
        return
    assert found["train"]["class_counts"] == train.class_counts()
    assert found["train"]["pixel_mean"] == pytest.approx(train.images.mean())
    if found["test"] is not None:
        assert found["test"]["pixel_mean"] == pytest.approx(test.images.mean())


@pytest.mark.parametrize("command", [each for each in COMMANDS if "tenfold predict" in each])
def test_predict_writes_what_the_competition_wants(monkeypatch, folder, command):
    done = tenfold(monkeypatch, command, folder)
    assert done.code == 0, done.err
    out = re.search(r"written to (\S+)", done.out)[1]
    content = (folder / out).read_bytes()
    text = (WRITE.gzip.decompress(content) if out.endswith(".gz") else content).decode()
    (folder / out).unlink()
    header, first, *_ = text.splitlines()
    is_kannada = "kannada" in command
    assert header == ("id,label" if is_kannada else "ImageId,Label")
    assert first.startswith("0," if is_kannada else "1,")
    assert len(text.splitlines()) == N_TEST + 1


@pytest.mark.parametrize(
    "file", ["digit-recognizer.zip", "mnist.npz", "mnist_png", "x_test.npy", "mnist_png.tar.gz"]
)
def test_predict_gives_the_answers_of_the_csv(monkeypatch, folder, file):
    answers = []
    for source in ("test.csv", file):
        done = tenfold(monkeypatch, f"tenfold predict {source} --out answers.csv", folder)
        assert done.code == 0, done.err
        answers.append(read_submission(folder / "answers.csv"))
    assert np.array_equal(*answers)


def test_train_learns_the_same_from_any_format(monkeypatch, folder, tmp_path):
    weights = []
    for source in ("train.csv", "mnist.npz", "train-00000-of-00001.parquet"):
        out = tmp_path / source
        command = f"tenfold train {source} --recipe lenet5 --set training.max_epochs=1 --out {out}"
        done = tenfold(monkeypatch, command, folder)
        assert done.code == 0, done.err
        from tenfold.recognizer import Recognizer

        weights.append(Recognizer.load(out).content_hash())
    assert len(set(weights)) == 1

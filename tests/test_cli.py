"""The command line as people use it: what it prints, what it leaves, its exit code."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module, metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from tenfold.cli import main
from tenfold.errors import Interrupted
from tenfold.run_folder import RunFolder

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
GUIDE = (Path(__file__).parent.parent / "docs" / "guide.md").read_text("utf-8")
# Printed without files alone, only now and then, or with the name of the machine.
NOT_PRINTED_BY_EVERY_RUN = ("no files given", "test score", "  epoch", "training on", "…")
TINY = ("--recipe", "lenet5", "--set", "training.max_epochs=3")


def tenfold(*arguments, cwd=None):
    """Run a command in this process: to import torch for each anew would take minutes."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    place, words, path = Path.cwd(), sys.argv, sys.path[:]
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    os.chdir(cwd or place)
    sys.argv = ["tenfold", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as ended:
        code = ended.code
    finally:
        os.chdir(place)
        sys.argv, sys.path[:] = words, path
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())


def process(*arguments, cwd=None):
    """The same in a process of its own, as people run it."""
    command = [sys.executable, "-m", "tenfold", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def error_of(done):
    """The one line on stderr of a command that found a mistake of the caller's."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("tenfold: ")
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def run(digits_csv, tmp_path_factory):
    """A finished run on real digits, and what it printed."""
    out = tmp_path_factory.mktemp("run") / "out"
    done = process("run", digits_csv / "train.csv", digits_csv / "test.csv", *TINY, "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_a_run_leaves_what_the_map_promises(run):
    out, output = run
    assert {path.name for path in out.iterdir()} == {
        "recipe.toml", "environment.json", "data.json", "metrics.jsonl", "steps.jsonl",
        "tensorboard", "checkpoint.safetensors", "recognizer.safetensors", "run.json",
        "validation.safetensors", "predictions.safetensors", "examples.safetensors",
        "seen-images.safetensors", "submission.csv", "report.html", "figures",
    }  # fmt: skip
    assert {path.name for path in (out / "figures").iterdir()} >= {
        "classes.png", "samples.png", "ink.png", "training.png", "responses.png",
        "feature-maps.png", "attribution.png", "confusion.png", "predictions.png",
        "predicted-classes.png",
    }  # fmt: skip
    assert "predicted leaderboard score: 0." in output
    assert "800 predictions written to" in output
    assert len(output.splitlines()) < 40
    assert json.loads((out / "run.json").read_text())["validation"]["n"] == 120


def without_numbers(line):
    line = re.sub(r"\S+/(submission\.csv|report\.html)", r"RUN/\1", line)
    return re.sub(r"\d[\d,.]*(e-\d+)?", "#", line)


def test_a_run_prints_the_lines_that_the_readme_shows_and_leaves_the_files_of_the_guide(run):
    out, output = run
    shown = re.search(r"```text\n\$ make run\n(.*?)```", README, re.DOTALL)
    assert shown
    lines = {without_numbers(line) for line in output.splitlines()}
    expected = [
        line for line in shown[1].splitlines() if not line.startswith(NOT_PRINTED_BY_EVERY_RUN)
    ]
    assert len(expected) >= 4
    assert [line for line in expected if without_numbers(line) not in lines] == []

    table = GUIDE.split("## What a run leaves")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    listed = {name.rstrip("/") for row in rows for name in re.findall(r"`(.+?)`", row)}
    folder = RunFolder(out)
    of_other_runs = {
        path.name
        for path in (
            folder.score, folder.kaggle_result, folder.members, folder.pseudo_label_stage,
            folder.teacher,
        )
    }  # fmt: skip
    assert {path.name for path in out.iterdir()} == listed - of_other_runs


def test_the_submission_is_what_the_competition_takes(run):
    lines = (run[0] / "submission.csv").read_text().splitlines()
    assert lines[0] == "ImageId,Label"
    assert [line.split(",")[0] for line in lines[1:]] == [str(i) for i in range(1, 801)]
    assert {line.split(",")[1] for line in lines[1:]} <= set("0123456789")


def test_score_tells_the_same_to_people_and_to_programs(run, digits_csv):
    files = run[0] / "submission.csv", digits_csv / "truth.csv"
    found = json.loads(tenfold("score", *files, "--json").stdout)
    assert found["n"] == 800
    assert found["correct"] / 800 == found["accuracy"] > 0.6
    assert found["interval"][0] < found["accuracy"] < found["interval"][1]
    assert f"{found['correct']} of 800" in tenfold("score", *files).stdout


def test_predict_repeats_the_runs_predictions(run, digits_csv, tmp_path):
    done = tenfold("predict", run[0], digits_csv / "test.csv", cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "submission.csv").read_bytes() == (run[0] / "submission.csv").read_bytes()
    found = json.loads(
        tenfold("predict", run[0] / "recognizer.safetensors", digits_csv / "test.csv", "--json",
                cwd=tmp_path / "..").stdout
    )  # fmt: skip
    lines = (tmp_path / "submission.csv").read_text().splitlines()[1:]
    assert found["labels"] == [line.split(",")[1] for line in lines]
    assert all(0.1 <= confidence <= 1 for confidence in found["confidence"])


def test_predict_ignores_labels_and_logs_it(run, digits_csv, tmp_path):
    done = tenfold("predict", run[0], digits_csv / "train.csv", "--out", tmp_path / "s.csv")
    assert done.returncode == 0
    assert "ignored the column 'label'" in done.stdout
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 1201


def test_evaluate_counts_every_class(run, digits_csv):
    found = json.loads(tenfold("evaluate", run[0], digits_csv / "train.csv", "--json").stdout)
    assert found["n"] == 1200
    assert sum(map(sum, found["confusion"])) == 1200
    assert set(found["per_class"]) == set("0123456789")
    assert 0 <= found["calibration_error"] <= 1
    output = tenfold("evaluate", run[0], digits_csv / "train.csv").stdout
    assert "class 7: 0." in output
    assert "calibration error" in output


def test_check_tells_people_and_programs_and_draws(digits_csv, tmp_path):
    files = digits_csv / "train.csv", digits_csv / "test.csv"
    done = tenfold("check", *files, "--json", "--out", tmp_path)
    assert json.loads(done.stdout)["train"]["rows"] == 1200
    assert {path.name for path in tmp_path.iterdir()} == {"classes.png", "samples.png"}
    assert "1,200 images of 28 × 28" in tenfold("check", *files).stdout


def test_check_finds_a_test_set_within_the_training_set(digits_csv):
    output = tenfold("check", digits_csv / "train.csv", digits_csv / "train.csv").stdout
    assert "1,200 images also in" in output


def test_data_writes_the_competitions_files(tmp_path):
    done = tenfold("data", "mnist", "--kaggle", tmp_path, "--seed", 3)
    assert done.returncode == 0, done.stderr
    rows = {path.name: path.read_bytes().count(b"\n") for path in tmp_path.iterdir()}
    assert rows == {
        "train.csv": 42_001, "test.csv": 28_001, "sample_submission.csv": 28_001,
        "truth.csv": 28_001,
    }  # fmt: skip


def test_data_writes_the_canonical_split_too(tmp_path, mnist):
    done = tenfold("data", "mnist", "--kaggle", tmp_path, "--canonical")
    assert done.returncode == 0, done.stderr
    truth = np.loadtxt(tmp_path / "truth.csv", int, delimiter=",", skiprows=1)
    assert np.array_equal(truth[:, 1], mnist[1].labels)
    assert (tmp_path / "train.csv").read_bytes().count(b"\n") == 60_001


def test_recipes_are_listed_and_shown():
    listed = tenfold("recipes").stdout
    for name in ("quick", "logbook-mlp", "surma", "thelastdev", "deotte"):
        assert f"\n{name}" in f"\n{listed}"
    shown = tenfold("recipes", "--show", "deotte").stdout
    assert "326,410 parameters" in shown
    assert "conv2c" in shown


def test_train_can_be_killed_and_resumed_to_the_same_weights(run, digits_csv, tmp_path):
    command = ["train", digits_csv / "train.csv", *TINY]
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "tenfold", *map(str, command), "--resume",
             "--out", str(tmp_path / "killed")],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        for line in process.stdout:
            if line.startswith("epoch 1/3") or "resumed after" in line:
                break
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
    done = tenfold(*command, "--resume", "--out", tmp_path / "killed")
    assert done.returncode == 0
    assert "resumed after step" in done.stdout
    runs = (run[0], tmp_path / "killed")
    whole, killed = (load_file(folder / "recognizer.safetensors") for folder in runs)
    assert all((whole[name] == killed[name]).all() for name in whole)
    epochs = [
        [json.loads(row)["valid_loss"] for row in metrics.read_text().splitlines()]
        for metrics in (folder / "metrics.jsonl" for folder in runs)
    ]
    assert epochs[0] == epochs[1]


def test_ctrl_c_saves_and_exits_130(digits_csv, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "tenfold", "train", str(digits_csv / "train.csv"), *TINY,
         "--set", "training.max_epochs=5000", "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped after step" in errors
    assert f"--resume --out {tmp_path / 'out'} resumes it" in errors
    assert "Traceback" not in errors
    assert (tmp_path / "out" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'"),
        (["run", "only-train.csv"], "TEST is missing"),
        (["train", "missing.csv"], "missing.csv"),
        (["train"], "TRAIN"),
        (["train", "x.csv", "--resume"], "--resume: expected the folder of the run in --out"),
        (["train", "x.csv", "--recipe", "quikc"], "recipe (did you mean quick?), expected a TOML"),
        (["train", "x.csv", "--epochs", "3"], "the recipe has it: --set training.max_epochs=VALUE"),
        (["train", "x.csv", "--lr=3"], "the recipe has it: --set optimizer.learning_rate=VALUE"),
        (["train", "x.csv", "--set", "max_epochs=3"], "did you mean training.max_epochs?"),
        (["train", "x.csv", "--set", "training.max_epochs=0"], "training.max_epochs is 0"),
        (["train", "x.csv", "--seed", "-1"], "seed"),
        (["train", "x.csv", "--set", "data.pseudo_label_threshold=0.9"], "needs test images"),
        (["predict", "nowhere", "x.csv"], "nowhere"),
        (["score", "missing.csv", "missing.csv"], "missing.csv"),
        (["data", "cifar", "--kaggle", "x"], "cifar"),
        (
            ["data", "mnist", "--kaggle", "x", "--canonical", "--seed", "5"],
            "expected no --canonical",
        ),
        (["report", "x", "--out", "x.html"], "--out x.html: is the page of --compare"),
        (
            ["report", "x", "y", "--compare", "--digit", "7"],
            "--digit 7: belongs to the report of one run",
        ),
        (["recipes", "--show", "x"], "no such file or recipe"),
        (["search", "x.csv", "--sampler", "grid"], "expected one of random, tpe, gp"),
        (["search", "x.csv", "--budget", "soon"], "expected a time such as 90s"),
        (["search", "x.csv", "--space", "none.toml"], "none.toml: cannot be read"),
        (["search", "x.csv", "--worker"], "--worker: needs a shared study, expected --storage"),
        (["search", "x.csv", "--storage", "postgresql://x", "--budget", "9s"], "expected no --st"),
        (["search", "x.csv", "--storage", "sqlite:///x"], "expected postgresql://user@host"),
        (["compare", "x.csv", "--folds", "1"], "greater than or equal to 2"),
        (["search", "missing.csv"], "missing.csv"),
        (["run", "--executor", "mars"], "--executor mars: expected local, ray or ray://host:port"),
        (["run", "--executor", "ray://"], "--executor ray://: expected local"),
        (["train", "x.csv", "--executor", "mars"], "--executor mars: expected local"),
        (["predict", "nowhere", "x.csv", "--executor", "mars"], "--executor mars: expected local"),
        (["search", "x.csv", "--executor", "mars"], "--executor mars: expected local"),
        (["compare", "x.csv", "--executor", "mars"], "--executor mars: expected local"),
        (["compare", "x.csv", "--methods", "kmn"], "did you mean knn?"),
        (["compare", "missing.csv", "--methods", "knn"], "missing.csv"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, tmp_path):
    assert message in error_of(tenfold(*arguments, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_that_of_the_package():
    done = tenfold("--version")
    assert (done.returncode, done.stdout) == (0, f"tenfold {metadata.version('tenfold')}\n")


@pytest.mark.parametrize("arguments", [["trian"], ["train", "missing.csv"]])
def test_so_it_is_in_a_process_of_its_own(arguments, tmp_path):
    error_of(process(*arguments, cwd=tmp_path))


def test_a_bug_of_ours_is_seen_as_one(tmp_path):
    broken = (
        "import sys, tenfold.recipe as recipe; recipe.list_recipes = lambda: 1 / 0;"
        "sys.argv[1:] = ['recipes']; from tenfold.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", broken], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"ZeroDivisionError" in done.stderr


def test_bad_data_leaves_no_run_behind(digits_csv, tmp_path):
    lines = (digits_csv / "train.csv").read_text().splitlines()
    cells = lines[6].split(",")
    cells[101] = "300"
    lines[6] = ",".join(cells)
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    output = error_of(
        tenfold("run", tmp_path / "train.csv", digits_csv / "test.csv", "--out", tmp_path / "out")
    )
    for part in ("train.csv", "line 7", "pixel100", "300", "255"):
        assert part in output
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody can write to")
def test_an_unwritable_folder_error_message(digits_csv):
    files = digits_csv / "train.csv", digits_csv / "test.csv"
    assert "/proc/nowhere" in error_of(tenfold("run", *files, *TINY, "--out", "/proc/nowhere"))


def test_a_folder_that_holds_a_run_is_left_as_it_is(run, digits_csv):
    before = {path: path.stat().st_mtime_ns for path in run[0].rglob("*")}
    files = digits_csv / "train.csv", digits_csv / "test.csv"
    output = error_of(tenfold("run", *files, *TINY, "--seed", 5, "--out", run[0]))
    assert "already holds a run" in output
    assert "differs in recipe" in error_of(
        tenfold("run", *files, *TINY, "--seed", 5, "--out", run[0], "--resume")
    )
    assert {path: path.stat().st_mtime_ns for path in run[0].rglob("*")} == before


def test_resume_without_a_run_error_message(digits_csv, tmp_path):
    output = error_of(
        tenfold("train", digits_csv / "train.csv", "--resume", "--out", tmp_path / "typo")
    )
    assert "typo: holds no run to resume" in output
    assert not (tmp_path / "typo").exists()


def test_a_class_too_small_to_split_leaves_nothing(digits_csv, tmp_path):
    rows = (digits_csv / "train.csv").read_text().splitlines()
    kept = [rows[0], *(row for row in rows[1:] if row[0] != "7")]
    kept.append(next(row for row in rows if row[0] == "7"))
    (tmp_path / "train.csv").write_text("\n".join(kept) + "\n")
    out = tmp_path / "new" / "and" / "deep"
    output = error_of(tenfold("train", tmp_path / "train.csv", *TINY, "--out", out))
    assert "class '7' has 1 image" in output
    assert not (tmp_path / "new").exists()


def test_a_test_set_of_another_size_is_refused_before_training(digits_csv, tmp_path):
    rows = (digits_csv / "test.csv").read_text().splitlines()[1:6]
    header = ",".join(f"pixel{index}" for index in range(24 * 24))
    small = [",".join(row.split(",")[: 24 * 24]) for row in rows]
    (tmp_path / "test.csv").write_text("\n".join([header, *small]) + "\n")
    output = error_of(
        tenfold("run", digits_csv / "train.csv", tmp_path / "test.csv", *TINY,
                "--out", tmp_path / "out")
    )  # fmt: skip
    assert "images are 24 pixels wide, expected 28" in output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", [".", "/dev/null"])
def test_only_ordinary_files_are_written(run, digits_csv, tmp_path, place):
    done = tenfold("predict", run[0], digits_csv / "test.csv", "--out", place, cwd=tmp_path)
    assert "is no ordinary file" in error_of(done)
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize(
    "command",
    [
        ["train", "train.csv", *TINY, "--out"],
        ["train", "train.csv", "--recipe", "tiny", "--out"],
        ["predict", "RUN", "test.csv", "--out"],
        ["report"],
    ],
)
def test_a_name_that_is_too_long_error_message(run, digits_csv, command):
    words = [run[0] if word == "RUN" else word for word in command]
    error_of(tenfold(*words, "x" * 300, cwd=digits_csv))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", [["recipes"], ["--help"], ["check", "train.csv", "--json"]])
def test_a_full_disk_behind_stdout_error_message(digits_csv, command):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tenfold", *command],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=digits_csv,
        )  # fmt: skip
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last == "tenfold: the output cannot be written (no space left on device)"
    assert "Traceback" not in done.stderr


def test_a_full_disk_during_training_error_message(digits_csv, tmp_path):
    """No file may grow past 100 kB, as on a disk that is nearly full: the checkpoint does."""
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from tenfold.cli import main; main()"
    )
    command = ["train", digits_csv / "train.csv", *TINY, "--out", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", limited, *map(str, command)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "cannot be written" in error_of(done)
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_a_reader_who_leaves_early_is_no_error_of_ours():
    done = subprocess.run(
        f"({sys.executable} -m tenfold recipes; echo $? >&2) | head -1", shell=True,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("best")
    assert done.stderr == "0\n"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("leaderboard 0.99 --json | true", 0),
        ("leaderboard 0.99 --json >&-", 0),
        ("recipes >&-", 0),
        ("leaderboard 2 2>&-", 2),
        ("leaderboard 2 2>/dev/full", 2),
        ("leaderboard 0.99 --json >/dev/full", 2),
    ],
)
def test_closed_and_full_streams_change_no_exit_code(command, code):
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m tenfold {command}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_training_continues_when_nobody_reads(digits_csv, tmp_path):
    command = f"{sys.executable} -m tenfold train train.csv {' '.join(TINY)} --out {tmp_path}/out"
    done = subprocess.run(
        f"({command}; echo $? >&2) | head -1", shell=True, capture_output=True, text=True,
        check=False, cwd=digits_csv,
    )  # fmt: skip
    assert done.stderr == "0\n"
    assert (tmp_path / "out" / "report.html").is_file()


def test_output_that_the_terminal_cannot_spell_is_replaced(digits_csv):
    done = subprocess.run(
        [sys.executable, "-m", "tenfold", "check", str(digits_csv / "train.csv")],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1,200 images of 28 ? 28" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_before_training_exits_130(digits_csv, tmp_path, number):
    """The signal waits for an import in progress, so none is swallowed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tenfold", "train", str(digits_csv / "train.csv"), *TINY,
         "--set", "training.max_epochs=5000", "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.readline()  # "read …": torch is imported next, for a second or more
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.startswith("tenfold: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("rank", ["1", "a"])
def test_a_rank_without_a_world_size_silences_nothing(monkeypatch, rank):
    """Other programs than torchrun set it too."""
    monkeypatch.setenv("RANK", rank)
    assert "quick" in tenfold("recipes").stdout


@pytest.mark.parametrize(
    ("rank", "count", "sentence"),
    [
        ("a", "2", "RANK is 'a' in the environment, expected a whole number below 2"),
        ("2", "2", "RANK is 2 in the environment, expected a whole number below 2"),
        ("0", "two", "WORLD_SIZE is 'two' in the environment, expected a whole number"),
    ],
)
def test_an_environment_that_makes_no_sense_error_message(monkeypatch, rank, count, sentence):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", count)
    assert sentence in error_of(tenfold("recipes"))


def test_the_second_of_two_processes_is_silent(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert tenfold("recipes").stdout == ""


def test_no_command_shows_the_help():
    done = process()
    assert done.returncode == 0
    assert "Commands:" in done.stdout


def test_help_shows_every_command():
    output = process("--help").stdout
    for command in ("run", "train", "predict", "search", "compare", "check", "data", "recipes"):
        assert f"\n  {command} " in output


def test_leaderboard_places_a_score():
    assert "is below 0.99757" in tenfold("leaderboard", "0.997").stdout
    printed = json.loads(tenfold("leaderboard", "0.997", "--json").stdout)
    assert printed["above"][0]["score"] == 0.99757
    error_of(tenfold("leaderboard", "99.64"))


@pytest.mark.parametrize("command", ["search", "compare"])
def test_an_interrupted_experiment_says_how_to_resume(digits_csv, tmp_path, monkeypatch, command):
    def stopped(*_arguments, **_named):
        raise Interrupted("stopped, with all finished work and every state saved")

    # `from tenfold.experiments import search` may give the function.
    monkeypatch.setattr(import_module(f"tenfold.experiments.{command}"), "run_jobs", stopped)
    done = tenfold(command, digits_csv / "train.csv", "--out", tmp_path / "out")
    assert done.returncode == 130
    assert done.stderr.endswith("saved; the same command resumes from there\n")


def test_short_help_is_help():
    assert tenfold("-h").stdout == tenfold("--help").stdout
    assert "--recipe" in tenfold("train", "-h").stdout

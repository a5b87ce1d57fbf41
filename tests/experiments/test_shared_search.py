"""One search by two processes that share a real PostgreSQL; one of them is killed."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna
import pytest

from tenfold.errors import ExperimentError
from tenfold.experiments.halving import RungResult
from tenfold.experiments.shared_search import _should_promote, search_shared
from tenfold.experiments.space import SearchConfig, Space
from tenfold.recipe import Recipe

INITDB = shutil.which("initdb") or next(
    (str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))[-1:]), None
)


@pytest.fixture(scope="module")
def database():
    """The URL of an empty database, on a socket in a folder of its own."""
    if INITDB is None:
        pytest.skip("needs PostgreSQL")
    # Not in pytest's folders: other users, such as PostgreSQL's, may not enter them.
    with tempfile.TemporaryDirectory(prefix="tenfold-postgres-") as folder:
        as_user = []
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(folder, "postgres")
            as_user = ["runuser", "-u", "postgres", "--"]
        data, log = f"{folder}/data", f"{folder}/log.txt"

        def run(*command: str) -> None:
            subprocess.run([*as_user, *command], check=True, capture_output=True, cwd=folder)

        server = str(Path(INITDB).with_name("pg_ctl"))
        options = f"-c listen_addresses='' -k {folder} -c fsync=off"
        run(INITDB, "-D", data, "--auth=trust", "--username=tenfold", "--no-sync")
        run(server, "-D", data, "-w", "-l", log, "-o", options, "start")
        yield f"postgresql://tenfold@/postgres?host={folder}"
        run(server, "-D", data, "-m", "immediate", "stop")


DRIVER = """
import sys
from tenfold.experiments import shared_search
shared_search.HEARTBEAT_S, shared_search.GRACE_PERIOD_S = 1, 3
import tenfold.cli
sys.argv[0] = "tenfold"
tenfold.cli.main()
"""


def start(digits_csv: Path, tmp_path: Path, database: str, out: str, *more: str):
    command = [
        sys.executable, "-c", DRIVER, "search", str(digits_csv / "train.csv"), "--trials", "3",
        "--recipe", str(tmp_path / "start.toml"), "--space", str(tmp_path / "space.toml"),
        "--storage", database, "--seeds", "0", "--out", str(tmp_path / out), *more,
    ]  # fmt: skip
    with (tmp_path / f"{out}.txt").open("w") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def wait_until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_killed_worker_loses_nothing(digits_csv, tmp_path, database, small):
    (tmp_path / "space.toml").write_text("[optimizer]\nlearning_rate = {log = [1e-4, 1e-2]}\n")
    (tmp_path / "start.toml").write_text(
        small.with_overrides({"training": {"max_epochs": 25}}).to_toml()
    )
    killed = start(digits_csv, tmp_path, database, "killed", "--worker")
    wait_until(lambda: list((tmp_path / "killed" / "jobs").glob("*/metrics.jsonl")))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    both = [
        start(digits_csv, tmp_path, database, "main"),
        start(digits_csv, tmp_path, database, "other", "--worker"),
    ]
    outputs = []
    for process, name in zip(both, ("main", "other"), strict=True):
        code = process.wait(100)
        outputs.append((tmp_path / f"{name}.txt").read_text())
        assert code == 0, outputs[-1]
    assert "the process without --worker tests the winner" in outputs[1]
    with (tmp_path / "main" / "search.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert {row["state"] for row in rows} <= {"complete", "pruned"}
    summary = json.loads((tmp_path / "main" / "search.json").read_text())
    assert (tmp_path / "main" / "best.toml").is_file()

    storage = optuna.storages.RDBStorage(database.replace("postgresql", "postgresql+psycopg"))
    study = optuna.load_study(study_name="tenfold", storage=storage)
    trials = study.trials
    storage.remove_session()
    storage.engine.dispose()
    numbers = [trial.number for trial in trials if trial.state.name in {"COMPLETE", "PRUNED"}]
    assert [int(row["trial"]) for row in rows] == numbers[:3]
    assert summary["winner"] in numbers
    states = [trial.state.name for trial in trials]
    assert states.count("FAIL") >= 1  # the stale one
    retried = [trial for trial in trials if "failed_trial" in trial.system_attrs]
    assert retried
    assert {trial.state.name for trial in retried} <= {"COMPLETE", "PRUNED"}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///x.db", "expected postgresql://user@host/database"),
        (
            "postgresql://me:secret@127.0.0.1:1/db",
            "me:\\*\\*\\*@127.0.0.1:1/db: the database cannot",
        ),
    ],
)
def test_a_database_that_cannot_be_used_has_an_error_message(digits, tmp_path, url, message):
    config = SearchConfig(Space.load(None, Recipe.load("quick")), 3)
    with pytest.raises(ExperimentError, match=message) as caught:
        search_shared(digits, config, tmp_path / "out", url, worker=False)
    assert "secret" not in str(caught.value)
    assert (tmp_path / "out").exists() == url.startswith("postgresql")


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("tenfold-search-2", "the database holds a search that differs in .*data"),
        ("tenfold-search-1", "the database: was written by an older version of tenfold"),
    ],
)
def test_a_database_of_another_search_is_refused(
    digits, tmp_path, database, small, format, message
):
    (tmp_path / "space.toml").write_text("[optimizer]\nlearning_rate = {log = [1e-4, 1e-2]}\n")
    config = SearchConfig(Space.load(tmp_path / "space.toml", small), 3)
    storage = optuna.storages.RDBStorage(database.replace("postgresql://", "postgresql+psycopg://"))
    study = optuna.create_study(
        study_name="tenfold", storage=storage, direction="maximize", load_if_exists=True
    )
    study.set_user_attr("format", format)
    study.set_user_attr("identity", study.user_attrs.get("identity", {"data": "of another"}))
    storage.remove_session()
    storage.engine.dispose()
    with pytest.raises(ExperimentError, match=message):
        search_shared(digits, config, tmp_path / "out", database, worker=True)


def test_a_trial_is_compared_with_trials_of_the_same_budget():
    """A search with more trials has smaller first rungs; earlier ones had larger budgets."""
    study = optuna.create_study(direction="maximize")

    def add_trial(budget_fraction, correct):
        trial = study.ask()
        result = RungResult(budget_fraction, correct, 1000, 0.1, 1.0)
        trial.set_user_attr("rung0", vars(result))
        return result

    for correct in (980, 985, 990):
        assert _should_promote(study, 0, add_trial(1 / 3, correct))
    assert not _should_promote(study, 0, add_trial(1 / 3, 970))
    assert _should_promote(study, 0, add_trial(1 / 9, 900))
    assert not _should_promote(study, 0, add_trial(1 / 9, 800))
    assert not _should_promote(study, 0, add_trial(1 / 9, 850))
    assert _should_promote(study, 0, add_trial(1 / 9, 910))

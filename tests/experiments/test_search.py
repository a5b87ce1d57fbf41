"""Searches: driven by made-up trials, and once by real trainings on real digits."""

import csv
import json
import subprocess
import sys
import time

import numpy as np
import pytest

from tenfold.errors import DataError, ExperimentError, JobError, OutputError
from tenfold.experiments import search as searching
from tenfold.experiments.search import search
from tenfold.experiments.space import SearchConfig, Space
from tenfold.jobs import JobFailure
from tenfold.recipe import Recipe
from tenfold.run_folder import ExperimentFolder
from tenfold.training.console import NullDisplay

SPACE = "[optimizer]\nlearning_rate = {log = [1e-4, 0.1]}\n[training]\nbatch_size = [16, 32]\n"


@pytest.fixture
def space(tmp_path, small):
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    return Space.load(path, small)


class Notes(NullDisplay):
    def __init__(self):
        self.said, self.lines = [], []

    def note(self, sentence):
        self.said.append(sentence)

    def show(self, standing):
        self.lines.append(standing.line)


def rows_of(folder):
    with (folder / "search.csv").open() as file:
        return list(csv.DictReader(file))


def told_of(folder):
    told = json.loads((folder / "search.json").read_text())
    return {key: told[key] for key in ("trials", "winner", "importance")}


def test_it_leaves_a_recipe_a_table_and_a_page(digits, space, tmp_path, on_the_spot, drawn):
    board = Notes()
    found = search(digits, SearchConfig(space, 12, seeds=0), tmp_path / "out", board=board)
    rows = rows_of(tmp_path / "out")
    assert [int(row["trial"]) for row in rows] == list(range(12))
    best = max(rows, key=lambda row: (float(row["share"] or 0), float(row["accuracy"] or 0)))
    assert found.winner.number == int(best["trial"])
    recipe = Recipe.load(tmp_path / "out" / "best.toml")
    assert recipe == found.recipe
    assert recipe.training.max_epochs == 4
    assert f"{recipe.optimizer.learning_rate:.4g}" == best["optimizer.learning_rate"]
    failed = [row for row in rows if row["state"] == "failed"]
    assert failed
    assert all(float(row["optimizer.learning_rate"]) > 0.05 for row in failed)
    assert all("diverged" in row["reason"] for row in failed)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "is not known: neither was trained again" in page
    names = {path.stem for path in (tmp_path / "out" / "figures").iterdir()}
    assert names == {"history", "importance", "coordinates", "slices"}
    assert any("left" in line for line in board.lines)
    assert not list((tmp_path / "out" / "jobs").glob("*.safetensors"))


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("stop_after", [0, 1, 7, 13, 15])
def test_broken_off_anywhere_it_ends_the_same(
    digits, space, tmp_path, on_the_spot, sampler, stop_after
):
    plan = SearchConfig(space, 12, sampler, seed=3, seeds=0)
    search(digits, plan, tmp_path / "whole")
    in_all, on_the_spot.count = on_the_spot.count, 0
    on_the_spot.stop_after = stop_after
    with pytest.raises(KeyboardInterrupt):
        search(digits, plan, tmp_path / "broken")
    on_the_spot.stop_after = None
    search(digits, plan, tmp_path / "broken")
    assert on_the_spot.count == in_all
    assert told_of(tmp_path / "whole") == told_of(tmp_path / "broken")


def test_a_gaussian_process_learns_from_the_first_batch(space, digits, tmp_path, on_the_spot):
    """Trials that stopped early count too: or it would draw blindly nearly to the end."""
    for sampler in ("random", "gp"):
        search(digits, SearchConfig(space, 12, sampler, seeds=0), tmp_path / sampler)
    blind, taught = (rows_of(tmp_path / sampler) for sampler in ("random", "gp"))
    rate = "optimizer.learning_rate"
    assert [row[rate] for row in blind[:9]] == [row[rate] for row in taught[:9]]
    # The best rate is 0.01; a made-up trial with more than 0.05 fails.
    assert all(0.001 < float(row[rate]) < 0.05 for row in taught[9:])
    assert [row[rate] for row in blind[9:]] != [row[rate] for row in taught[9:]]


def test_a_start_that_cannot_be_trained_again_costs_no_search(
    digits, space, tmp_path, on_the_spot, drawn
):
    answer = on_the_spot.answer

    def diverging(description, folder):
        if description["judge"] is not None and description["recipe"]["seed"] == 1:
            return {"failed": "training diverged in epoch 3"}
        return answer(description, folder)

    on_the_spot.answer = diverging
    board = Notes()
    found = search(digits, SearchConfig(space, 3, seeds=2), tmp_path, board=board)
    doubt = "start, seed 1 cannot be trained on all images: training diverged in epoch 3"
    assert (found.verdict, found.doubt) == (None, doubt)
    assert doubt in board.said
    assert doubt in (tmp_path / "report.html").read_text()
    assert Recipe.load(tmp_path / "best.toml") == found.recipe


def test_a_process_killed_in_the_verdict_costs_no_search(
    digits, space, tmp_path, on_the_spot, monkeypatch
):
    killed = JobFailure("its process was killed 3 times", "killed")

    def deadly(jobs, folder, *, callback, **more):
        if not jobs[0].name.startswith("start"):
            return on_the_spot(jobs, folder, callback=callback, **more)
        assert more["keep_going"]
        callback.on_job_failure(jobs[0], killed)
        return [killed, *on_the_spot(jobs[1:], folder, callback=callback, **more)]

    monkeypatch.setattr(searching, "run_jobs", deadly)
    found = search(digits, SearchConfig(space, 3, seeds=2), tmp_path)
    doubt = "start, seed 0 cannot be trained on all images: its process was killed 3 times"
    assert (found.verdict, found.doubt) == (None, doubt)


def test_who_fails_at_full_length_does_not_win(digits, space, tmp_path, on_the_spot):
    """It got further than all that were stopped early, and came to nothing there."""
    answer, plan = on_the_spot.answer, SearchConfig(space, 9, seeds=0)
    lucky = search(digits, plan, tmp_path / "all").winner

    def diverging(description, folder):
        whole = description["recipe"]["training"]["max_epochs"] == 4 and description["part"] == 1
        return {"failed": "training diverged"} if whole else answer(description, folder)

    on_the_spot.answer = diverging
    found = search(digits, plan, tmp_path / "diverging")
    assert found.entries[lucky.number].state == "failed"
    assert found.winner.number != lucky.number
    assert found.winner.state == "stopped early"


def test_a_torn_journal_is_mended_with_a_copy_and_a_word(digits, space, tmp_path, on_the_spot):
    plan = SearchConfig(space, 9, seeds=0)
    search(digits, plan, tmp_path)
    journal = tmp_path / "study.journal"
    before, told, count = journal.read_bytes(), told_of(tmp_path), on_the_spot.count
    journal.write_bytes(before + b'{"op_code": 6, "trial')
    board = Notes()
    search(digits, plan, tmp_path, board=board)
    assert any("21 bytes are damaged" in sentence for sentence in board.said)
    assert (tmp_path / "study.journal.damaged1").read_bytes().startswith(before)
    assert told_of(tmp_path) == told
    assert on_the_spot.count == count
    journal.write_bytes(before[: len(before) // 2])  # half of the record is lost
    search(digits, plan, tmp_path, board=board)
    assert told_of(tmp_path) == told
    assert on_the_spot.count == count


def dashboard_of(storage):
    """What Optuna's dashboard tells of the studies in `storage`."""
    import io

    from optuna_dashboard import wsgi

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies", "wsgi.input": io.BytesIO()}
    return b"".join(wsgi(storage)(environ, lambda *_: None)).decode()


def test_the_study_is_optunas(digits, space, tmp_path, on_the_spot):
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    search(digits, SearchConfig(space, 12, seeds=0), tmp_path)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    study = optuna.load_study(study_name="tenfold", storage=storage)
    states = [trial.state.name for trial in study.trials]
    in_words = {"stopped early": "PRUNED", "complete": "COMPLETE", "failed": "FAIL"}
    assert states == [in_words[row["state"]] for row in rows_of(tmp_path)]
    assert study.best_trial.number == told_of(tmp_path)["winner"]
    assert "tenfold" in dashboard_of(storage)
    last = {trial.number: list(trial.intermediate_values.values()) for trial in study.trials}
    assert last[study.best_trial.number][-1] == study.best_value


def test_more_trials_go_on_where_fewer_ended(digits, space, tmp_path, on_the_spot):
    search(digits, SearchConfig(space, 9, seeds=0), tmp_path)
    first = rows_of(tmp_path)
    search(digits, SearchConfig(space, 18, seeds=0), tmp_path)
    assert rows_of(tmp_path)[:9] == first
    assert len(rows_of(tmp_path)) == 18


def test_trials_that_drew_the_same_share_their_training(digits, tmp_path, small, on_the_spot):
    path = tmp_path / "space.toml"
    path.write_text("[optimizer]\nlearning_rate = [0.001, 0.002]\n")
    search(digits, SearchConfig(Space.load(path, small), 9, seeds=0), tmp_path / "out")
    assert len(rows_of(tmp_path / "out")) == 9
    assert all(row["accuracy"] for row in rows_of(tmp_path / "out"))
    assert on_the_spot.count <= 6  # two recipes on three rungs


def test_folds_judge_by_more_images(digits, space, tmp_path, on_the_spot):
    search(digits, SearchConfig(space, 3, folds=4, seeds=0), tmp_path)
    assert {row["n"] for row in rows_of(tmp_path) if row["n"]} == {"4000"}


def test_a_budget_that_is_spent_begins_no_more(digits, space, tmp_path, on_the_spot):
    answer = on_the_spot.answer

    def slow(description, folder):
        time.sleep(0.02)
        return answer(description, folder)

    on_the_spot.answer = slow
    found = search(digits, SearchConfig(space, 30, seeds=0), tmp_path, budget_s=0.3)
    states = [row["state"] for row in rows_of(tmp_path)]
    assert 0 < states.count("not begun") < 30
    assert found.winner.reached
    on_the_spot.answer = answer
    search(digits, SearchConfig(space, 30, seeds=0), tmp_path)
    assert "not begun" not in [row["state"] for row in rows_of(tmp_path)]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": 1}, "seed"),
        ({"sampler": "tpe"}, "sampler"),
        ({"folds": 2}, "folds"),
    ],
)
def test_a_folder_of_another_search(digits, space, tmp_path, on_the_spot, change, sentence):
    search(digits, SearchConfig(space, 3, seeds=0), tmp_path)
    with pytest.raises(ExperimentError, match=f"a search that differs in {sentence}, expected"):
        search(digits, SearchConfig(space, 3, seeds=0, **change), tmp_path)
    other = digits.select(np.arange(1500))
    with pytest.raises(ExperimentError, match="differs in data"):
        search(other, SearchConfig(space, 3, seeds=0), tmp_path)


@pytest.mark.parametrize("kind", ["search", "compare"])
@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"identity": 3}', '{"identity": {}, "batches": 9}',
     '{"identity": {}, "batches": ["a"]}', '{"identity": {}, "workers": "two"}'],
)  # fmt: skip
def test_damaged_settings_are_a_sentence(tmp_path, kind, content):
    folder = ExperimentFolder(tmp_path, kind)
    folder.settings.write_text(content)
    with pytest.raises(ExperimentError, match=rf"{kind}\.json: is damaged, expected it as a"):
        folder.claim({})
    folder.settings.unlink()
    assert folder.claim({}) is None


def test_what_befalls_all_trials_ends_the_search_with_a_sentence(
    digits, space, tmp_path, monkeypatch
):
    """A full disk is nothing that the trial is to blame for."""

    def full(jobs, folder, *, callback, **_):
        failure = JobFailure("recognizer.safetensors: cannot be written (no space left on device)")
        callback.on_job_failure(jobs[0], failure)

    monkeypatch.setattr(searching, "run_jobs", full)
    with pytest.raises(JobError, match=r"trial 0: recognizer\.safetensors: cannot be written"):
        search(digits, SearchConfig(space, 3, seeds=0), tmp_path)
    assert [row["state"] for row in rows_of(tmp_path)] == ["waiting"] * 3


def test_a_trial_whose_process_is_killed_fails_alone(
    digits, space, tmp_path, on_the_spot, monkeypatch
):
    killed = JobFailure("its process was killed 3 times", "killed")

    def deadly(jobs, folder, *, callback, **more):
        if jobs[0].name == "trial 0":
            callback.on_job_failure(jobs[0], killed)
            jobs = jobs[1:]
        return on_the_spot(jobs, folder, callback=callback, **more)

    monkeypatch.setattr(searching, "run_jobs", deadly)
    search(digits, SearchConfig(space, 3, seeds=0), tmp_path)
    assert rows_of(tmp_path)[0]["reason"] == "its process was killed 3 times"


def test_two_at_once_in_one_folder(digits, space, tmp_path):
    folder = ExperimentFolder(tmp_path, "search")
    with folder.alone(), pytest.raises(OutputError, match="another process is at work"):
        search(digits, SearchConfig(space, 3), tmp_path)


def test_when_nothing_can_be_trained(digits, tmp_path, small, on_the_spot):
    path = tmp_path / "space.toml"
    path.write_text("[optimizer]\nlearning_rate = {range = [1.0, 2.0]}\n")
    with pytest.raises(ExperimentError, match="no trial could be trained: training diverged"):
        search(digits, SearchConfig(Space.load(path, small), 3, seeds=0), tmp_path / "out")


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        ({"trials": 0}, "--trials 0: expected at least 1"),
        ({"trials": 3, "folds": 1}, "--folds 1: expected at least 2"),
        ({"trials": 3, "seeds": -1}, "--seeds -1: expected 0 or more"),
        ({"trials": 3, "sampler": "grid"}, "--sampler grid"),
    ],
)
def test_plans_that_cannot_work(space, about, sentence):
    with pytest.raises(ExperimentError, match=sentence):
        SearchConfig(space, **about)


@pytest.mark.parametrize(("count", "folds"), [(1, None), (15, None), (2000, 1000)])
def test_too_few_images_leave_nothing_behind(digits, space, tmp_path, count, folds):
    few = digits.select(np.arange(count))
    with pytest.raises(DataError, match=r"class .* has \d+ image|leaves a part with"):
        search(few, SearchConfig(space, 3, folds=folds), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_ensemble_cannot_be_searched():
    start = Recipe.load("quick", overrides=["ensemble.members=2"])
    with pytest.raises(ExperimentError, match="is more than one training"):
        SearchConfig(Space.load(None, start), 3)


def test_the_real_thing_from_the_command_line(digits_csv, tmp_path, small):
    (tmp_path / "space.toml").write_text(
        "[optimizer]\nlearning_rate = {log = [1e-5, 1e-2]}\n[network]\nhidden = [[8], [64]]\n"
    )
    (tmp_path / "start.toml").write_text(
        small.with_overrides({"optimizer": {"learning_rate": 1e-4}}).to_toml()
    )
    command = [
        sys.executable, "-m", "tenfold", "search", str(digits_csv / "train.csv"), "--trials", "4",
        "--recipe", str(tmp_path / "start.toml"), "--space", str(tmp_path / "space.toml"),
        "--seeds", "1", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert "rung 2 of 2" in done.stdout
    assert "on 240 images set aside, 1 seed: start" in done.stdout
    told = json.loads((tmp_path / "out" / "search.json").read_text())
    assert told["verdict"]["winner"][0] > told["verdict"]["start"][0]
    assert "images set aside" in Recipe.load(tmp_path / "out" / "best.toml").measured


def test_budgets_are_times():
    from tenfold.cli.experiment import seconds_of

    assert [seconds_of(text) for text in ("90s", "30m", "1.5h")] == [90, 1800, 5400]
    for text in ("", "30", "0m", "-1m", "m", "1d"):
        with pytest.raises(ExperimentError, match="expected a time such as 90s, 30m or 2h"):
            seconds_of(text)


def test_too_few_images_for_the_first_rung_are_told_before_anything_is_begun(digits, tmp_path):
    few = digits.select(np.arange(500), "few.csv")
    plan = SearchConfig(Space.load(None, Recipe.load("quick")), 9)
    with pytest.raises(DataError, match="a search of 9 trials begins with 11% of a training"):
        search(few, plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pseudo_labels_are_not_searched(small):
    wants = small.with_overrides({"data": {"pseudo_label_threshold": 0.9}})
    with pytest.raises(ExperimentError, match="is more than one training, expected"):
        SearchConfig(Space.load(None, wants), 9)


def test_what_is_found_has_a_name_that_can_be_read_again(digits, small, tmp_path, on_the_spot):
    source = tmp_path / "start.toml"
    for name in ("a" * 80, "quick", "quick-searched"):
        source.write_text(small.model_copy(update={"name": name}).to_toml())
        (tmp_path / "space.toml").write_text(SPACE)
        space = Space.load(tmp_path / "space.toml", Recipe.load(source))
        search(digits, SearchConfig(space, 3, seeds=0), tmp_path / f"out-{name[:10]}-{len(name)}")
        found = Recipe.load(tmp_path / f"out-{name[:10]}-{len(name)}" / "best.toml").name
        assert found == f"{name[:71]}-searched" if name[0] == "a" else found == "quick-searched"

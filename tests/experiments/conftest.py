"""Jobs done on the spot, and a small plan."""

import pytest

from tenfold.experiments import search as searching
from tenfold.files import output_folder, write_json
from tenfold.jobs import SKIPPED
from tenfold.recipe import Recipe

SMALL = (
    "network.name=mlp", "network.hidden=[32]", "network.width=none", "training.max_epochs=4",
    "data.validation=none", "training.progressive_sizes=[]", "optimizer.name=adamw",
    "optimizer.momentum=0", "prediction.tta_shift_pixels=none",
)  # fmt: skip


@pytest.fixture
def small() -> Recipe:
    return Recipe.load("quick", overrides=SMALL)


class OnTheSpot:
    """Stands in for `run_jobs`: does each job that is not done by `answer`, and counts them."""

    def __init__(self, answer):
        self.answer, self.count, self.stop_after = answer, 0, None

    def __call__(self, jobs, folder, *, callback, may_start=lambda: True, **_):
        results = []
        for job in jobs:
            if not job.is_done(folder) and not may_start():
                results.append(SKIPPED)
                callback.on_job_failure(job, SKIPPED)
                continue
            if not job.is_done(folder):
                if self.stop_after is not None and self.count >= self.stop_after:
                    raise KeyboardInterrupt
                self.count += 1
                callback.on_job_progress(job, {})
                own = output_folder(folder / job.id)
                result = self.answer(job.description, own)
                write_json(own / "manifest.json", {"id": job.id, "result": result})
            result = job.result(folder)
            callback.on_job_end(job, result)
            results.append(result)
        return results


@pytest.fixture
def drawn():
    """For tests that look at the page: without it `on_the_spot` draws none, to be quick."""


@pytest.fixture
def on_the_spot(monkeypatch, request):
    """Trials whose accuracy is a smooth function of the learning rate and of the length."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(searching, "write_search_page", lambda *_: None)
        monkeypatch.setattr(searching, "importance", lambda *_: None)

    def answer(description, _folder):
        recipe = description["recipe"]
        rate, epochs = recipe["optimizer"]["learning_rate"], recipe["training"]["max_epochs"]
        if rate > 0.05:
            return {"failed": "training diverged in epoch 1"}
        right = round(1000 * min(0.999, 0.5 + epochs / 10 - 10 * abs(rate - 0.01)))
        about = {"images": 100, "epochs": epochs, "train_s": 1.0}
        return {"correct": max(0, right), "n": 1000, "loss": 1 - right / 1000, **about}

    spot = OnTheSpot(answer)
    monkeypatch.setattr(searching, "run_jobs", spot)
    return spot

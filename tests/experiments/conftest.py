"""Jobs that run in this process, and a small recipe."""

import pytest

from tenfold.experiments import search as search_module
from tenfold.jobs import InlineExecutor, JobFailure
from tenfold.recipe import Recipe

SMALL = (
    "network.name=mlp", "network.hidden=[32]", "network.width=none", "training.max_epochs=4",
    "data.validation=none", "training.progressive_sizes=[]", "optimizer.name=adamw",
    "optimizer.momentum=0", "prediction.tta_shift_pixels=none",
)  # fmt: skip


@pytest.fixture
def small() -> Recipe:
    return Recipe.load("quick", overrides=SMALL)


class CountingExecutor(InlineExecutor):
    """Runs jobs in this process by `task(description, folder)`, and counts them.

    `stop_after` so many jobs it is interrupted, as by Ctrl-C. Jobs whose names are in `failures`
    fail without being run.
    """

    def __init__(self, task):
        super().__init__(self._run_counted)
        self.task, self.count, self.stop_after = task, 0, None
        self.failures: dict[str, JobFailure] = {}

    def run(self, batch):
        for job in batch.jobs:
            if job.name in self.failures:
                batch.report_failure(job, self.failures[job.name])
        batch.jobs = [job for job in batch.jobs if job.name not in self.failures]
        super().run(batch)

    def _run_counted(self, job, folder, emit):
        if self.stop_after is not None and self.count >= self.stop_after:
            raise KeyboardInterrupt
        self.count += 1
        emit({})
        return self.task(job.description, folder)


def made_up_training(description, _folder):
    """The accuracy is a smooth function of the learning rate and of the number of epochs."""
    recipe = description["recipe"]
    rate, epochs = recipe["optimizer"]["learning_rate"], recipe["training"]["max_epochs"]
    if rate > 0.05:
        return {"failed": "training diverged in epoch 1"}
    correct = round(1000 * min(0.999, 0.5 + epochs / 10 - 10 * abs(rate - 0.01)))
    return {
        "correct": max(0, correct), "n": 1000, "loss": 1 - correct / 1000,
        "train_images": 100, "epochs": epochs, "train_s": 1.0,
    }  # fmt: skip


@pytest.fixture
def with_report():
    """For tests that look at the report: without it `executor` writes none, to be quick."""


@pytest.fixture
def executor(monkeypatch, request):
    """Runs made-up trainings."""
    if "with_report" not in request.fixturenames:
        monkeypatch.setattr(search_module, "write_search_page", lambda *_: None)
        monkeypatch.setattr(search_module, "param_importances", lambda *_: None)
    return CountingExecutor(made_up_training)

"""Learning curves and TensorBoard events that are written while training runs."""

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tenfold.data import split
from tenfold.recipe import Recipe
from tenfold.report.figures import training as module
from tenfold.report.figures.training import LivePlot
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import Callback
from tenfold.training.loop import fit_network

SMALL = ("network.width=4", "training.max_epochs=2", "training.batch_size=64")


class FigureRecorder(Callback):
    """Keeps the content of a file after each step and each epoch; empty if there is no file."""

    def __init__(self, path):
        self.path, self.by_step, self.by_epoch = path, [], []

    def on_step_end(self, state):
        self.by_step.append(self.content())

    def on_epoch_end(self, state):
        self.by_epoch.append(self.content())

    def content(self):
        return self.path.read_bytes() if self.path.exists() else b""


@pytest.mark.parametrize("interval_s", [0.0, 1000.0])
def test_the_curves_are_drawn_while_training_runs(digits, tmp_path, monkeypatch, interval_s):
    monkeypatch.setattr(module, "PLOT_INTERVAL_S", interval_s)
    run = RunFolder(tmp_path / "run")
    recorder = FigureRecorder(run.figures / "training.png")
    train_set, valid_set = split(digits.select(np.arange(600)), 0.2, seed=0)
    recipe = Recipe.load("quick", overrides=SMALL)
    callbacks = (LivePlot(run), recorder)
    fit_network(train_set, valid_set, recipe, folder=run, callbacks=callbacks)
    steps = len(recorder.by_step) // 2
    assert set(recorder.by_step[:steps]) == {b""}, "there is nothing to draw in the first epoch"
    first, second = recorder.by_epoch
    assert first.startswith(b"\x89PNG")
    assert second != first
    assert set(recorder.by_step[steps:]) == {first} or interval_s == 0
    assert len(set(recorder.by_step[steps:])) > 1 or interval_s > 0


def test_tensorboard_has_scalars_histograms_and_the_input_of_the_network(digits, tmp_path):
    run = RunFolder(tmp_path / "run")
    train_set, valid_set = split(digits.select(np.arange(600)), 0.2, seed=0)
    fit_network(train_set, valid_set, Recipe.load("quick", overrides=SMALL), folder=run)
    everything = {"histograms": 0, "images": 0, "scalars": 0}
    events = EventAccumulator(str(run.tensorboard), size_guidance=everything).Reload()
    tags = events.Tags()
    assert {"loss/training", "accuracy/validation", "learning rate"} <= set(tags["scalars"])
    assert "conv1.0.weight" in tags["histograms"]
    assert [event.step for event in events.Histograms("conv1.0.weight")] == [1, 2]
    assert "what the network sees" in tags["images"]

"""Pictures while training runs."""

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tenfold.data import split
from tenfold.recipe import Recipe
from tenfold.report import live
from tenfold.report.live import LivePlot
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import NullCallback
from tenfold.training.loop import fit

SMALL = ("network.width=4", "training.max_epochs=2", "training.batch_size=64")


class Looks(NullCallback):
    """Looks at the picture whenever something is told."""

    def __init__(self, picture):
        self.picture, self.seen, self.told = picture, [], []

    def note(self, sentence):
        self.told.append(sentence)

    def moment(self, moment):
        self.look()

    def epoch(self, epoch, max_epochs):
        self.look()

    def look(self):
        self.seen.append(self.picture.read_bytes() if self.picture.exists() else b"")


def test_the_curves_are_drawn_while_it_trains(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "SECONDS_BETWEEN_DRAWINGS", 0.0)
    monkeypatch.setattr("tenfold.training.loop.SECONDS_BETWEEN_MOMENTS", 0.0)
    run = RunFolder(tmp_path / "run")
    looks = Looks(run.figures / "training.png")
    train, valid = split(digits.select(np.arange(600)), 0.2, seed=0)
    fit(train, valid, Recipe.load("quick", overrides=SMALL), out=run.path,
        listener=LivePlot(looks, run))  # fmt: skip
    assert looks.seen[0] == b""
    drawn = looks.picture.read_bytes()
    assert drawn.startswith(b"\x89PNG")
    assert len({*looks.seen, drawn}) == 3, "nothing, one epoch, two epochs"
    assert looks.told


def test_tensorboard_has_scalars_histograms_and_what_the_network_sees(digits, tmp_path):
    run = RunFolder(tmp_path / "run")
    train, valid = split(digits.select(np.arange(600)), 0.2, seed=0)
    fit(train, valid, Recipe.load("quick", overrides=SMALL), out=run.path)
    everything = {"histograms": 0, "images": 0, "scalars": 0}
    events = EventAccumulator(str(run.tensorboard), size_guidance=everything).Reload()
    tags = events.Tags()
    assert {"loss/training", "accuracy/validation", "learning rate"} <= set(tags["scalars"])
    assert "conv1.0.weight" in tags["histograms"]
    assert [one.step for one in events.Histograms("conv1.0.weight")] == [1, 2]
    assert "what the network sees" in tags["images"]

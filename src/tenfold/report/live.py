"""Curves while training runs: the figure file is drawn again as the run folder fills."""

import json

from tenfold.report import figures
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import Callback, Throttle, TrainingProgress
from tenfold.training.state import TrainState

PLOT_INTERVAL_S = 15.0


class LivePlot(Callback):
    """Keeps `figures/training.png` up to date: after each epoch, and every 15 seconds in long ones.

    Training waits meanwhile. Members of an ensemble train in processes of their own and are not
    drawn until the end.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._throttle = Throttle(PLOT_INTERVAL_S)

    def on_step_end(self, state: TrainingProgress) -> None:
        """Draw if the figure is old."""
        if self._throttle.is_due():
            self._draw()

    def on_epoch_end(self, state: TrainState) -> None:
        """Draw."""
        self._draw()

    def _draw(self) -> None:
        self._throttle.restart()
        if not self._folder.metrics.exists():
            return
        history = self._folder.history()
        intervals = [json.loads(row) for row in self._folder.steps.read_text("utf-8").splitlines()]
        if history:
            curves = figures.training_curves(history, intervals=intervals)
            figures.save(curves, self._folder.figures / "training.png")

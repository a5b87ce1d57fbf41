"""Curves while training runs: the figure file is drawn anew as the run folder fills."""

import json
import time

from tenfold.report import figures
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import Callback, Epoch, StepProgress

SECONDS_BETWEEN_DRAWINGS = 15.0


class LivePlot:
    """Passes everything on to another listener, and keeps `figures/training.png` up to date.

    It draws after each epoch, and from the second on in long ones every 15 seconds; training waits
    meanwhile. Members of an ensemble train in processes of their own and are not drawn until the
    end.
    """

    def __init__(self, listener: Callback, folder: RunFolder) -> None:
        self._listener = listener
        self._folder = folder
        self._drawn_at = time.monotonic()

    def note(self, sentence: str) -> None:
        """Pass it on."""
        self._listener.note(sentence)

    def moment(self, moment: StepProgress) -> None:
        """Pass it on; draw if the picture is old."""
        self._listener.moment(moment)
        if time.monotonic() - self._drawn_at >= SECONDS_BETWEEN_DRAWINGS:
            self._draw()

    def epoch(self, epoch: Epoch, max_epochs: int) -> None:
        """Pass it on, and draw."""
        self._listener.epoch(epoch, max_epochs)
        self._draw()

    def close(self) -> None:
        """Pass it on."""
        self._listener.close()

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        if not self._folder.metrics.exists():
            return
        history = self._folder.history()
        intervals = [json.loads(row) for row in self._folder.steps.read_text("utf-8").splitlines()]
        if history:
            curves = figures.training_curves(history, intervals=intervals)
            figures.save(curves, self._folder.figures / "training.png")

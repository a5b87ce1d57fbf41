"""The history as TensorBoard reads it."""

from types import TracebackType
from typing import Any, Self

from tenfold.files import RunFolder
from tenfold.training.progress import Epoch

_TAGS = {
    "loss/training": "train_loss",
    "loss/validation": "valid_loss",
    "accuracy/training": "train_accuracy",
    "accuracy/validation": "valid_accuracy",
    "learning rate": "learning_rate",
    "images per second": "images_per_s",
}


class Scalars:
    """Writes each epoch to `tensorboard/` in the run folder; does nothing without a folder."""

    def __init__(self, folder: RunFolder | None, epochs_done: int) -> None:
        self._folder = folder
        self._epochs_done = epochs_done
        self._writer: Any = None

    def __enter__(self) -> Self:
        if self._folder is not None:
            # A second to import: not for those who keep no files.
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

            # What a killed run wrote after its last checkpoint is purged: it will come again.
            self._writer = SummaryWriter(
                str(self._folder.tensorboard), purge_step=self._epochs_done + 1
            )
        return self

    def write(self, row: Epoch) -> None:
        """Add one finished epoch."""
        if self._writer is None:
            return
        for tag, name in _TAGS.items():
            value = getattr(row, name)
            if value is not None:
                self._writer.add_scalar(tag, value, row.epoch)
        self._writer.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

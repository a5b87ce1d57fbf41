"""The history as TensorBoard reads it."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from torch import Tensor, nn

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


MOST_WEIGHTS = 100_000  # of a layer go into its histogram; millions would take seconds
IMAGES_SHOWN = 32


class TensorBoard:
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

    def show(self, look: Callable[[], Tensor]) -> None:
        """Add what `look` returns, images as the network sees them: float [N, 1, S, S]."""
        if self._writer is None:
            return
        images = look()[:IMAGES_SHOWN].float().cpu()
        low, high = images.min(), images.max()
        self._writer.add_images("what the network sees", (images - low) / (high - low + 1e-12), 0)

    def write(self, row: Epoch, network: nn.Module) -> None:
        """Add one finished epoch: its scalars, and histograms of the weights of `network`."""
        if self._writer is None:
            return
        for name, weights in network.named_parameters():
            values = weights.detach().float().cpu().flatten()
            stride = -(-len(values) // MOST_WEIGHTS)
            self._writer.add_histogram(name, values[::stride].numpy(), row.epoch)
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

"""Connected components of a mask: the runs of each row, joined where they touch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom are one past the end


@dataclass(frozen=True, eq=False)
class Components:
    """The connected components of a mask, numbered from 1 in the order of their first rows.

    Attributes:
        labels: int32 [H, W], 0 where the mask is False.
        areas: int64 [N], pixels of each.
        boxes: int64 [N, 4], left, top, right and bottom of each.
    """

    labels: NDArray[np.int32]
    areas: NDArray[np.int64]
    boxes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.areas)

    @property
    def widths(self) -> NDArray[np.int64]:
        """Width of each in pixels, int64 [N]."""
        return self.boxes[:, 2] - self.boxes[:, 0]

    @property
    def heights(self) -> NDArray[np.int64]:
        """Height of each in pixels, int64 [N]."""
        return self.boxes[:, 3] - self.boxes[:, 1]

    def mask(self, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return where the components of `keep`, bool [N], are: bool [H, W]."""
        return np.concatenate([[False], keep])[self.labels]


def connected_components(mask: NDArray[np.bool_]) -> Components:
    """Find the parts of `mask`, bool [H, W], that touch by a side or by a corner."""
    height, width = mask.shape
    # A column of False at either side makes each run start and end inside its row.
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    change = np.diff(padded, axis=1).ravel()
    starts, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    run_labels = _join(starts, ends, width + 1)
    n = int(run_labels.max(initial=0))
    rows, lefts = np.divmod(starts, width + 1)
    lengths = ends - starts
    labels = np.zeros((height, width), np.int32)
    labels[mask] = np.repeat(run_labels, lengths)  # both in the order of rows, then columns
    boxes = np.empty((n, 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = max(height, width), 0
    index = run_labels - 1
    np.minimum.at(boxes[:, 0], index, lefts)
    np.minimum.at(boxes[:, 1], index, rows)
    np.maximum.at(boxes[:, 2], index, lefts + lengths)
    np.maximum.at(boxes[:, 3], index, rows + 1)
    areas = np.bincount(index, weights=lengths, minlength=n).astype(np.int64)
    return Components(labels, areas, boxes)


def _join(starts: NDArray[np.int64], ends: NDArray[np.int64], stride: int) -> NDArray[np.int32]:
    """Return the component of each run, int32 [R], from 1.

    Args:
        starts: where each run starts, row × stride + column, ascending.
        ends: one past its end.
        stride: of a row.
    """
    # Runs of the next row touch a run if they end at or after its start, and start by its end.
    first = np.searchsorted(ends, starts + stride, side="left")
    last = np.searchsorted(starts, ends + stride, side="right")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(starts)), counts)
    offsets = np.arange(len(upper)) - np.repeat(np.cumsum(counts) - counts, counts)
    lower = np.repeat(first, counts) + offsets
    root = np.arange(len(starts))
    while True:
        lowest = np.minimum(root[upper], root[lower])
        joined = root.copy()
        np.minimum.at(joined, root[upper], lowest)
        np.minimum.at(joined, root[lower], lowest)
        while not np.array_equal(shorter := joined[joined], joined):
            joined = shorter
        if np.array_equal(joined, root):
            break
        root = joined
    _, labels = np.unique(root, return_inverse=True)
    return (labels + 1).astype(np.int32)

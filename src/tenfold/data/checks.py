"""What is wrong or odd in a dataset, and what two datasets share."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.dataset import Dataset
from tenfold.formatting import pluralize

_FEW_IMAGES = 10
_SHOWN = 5
_LINES_ARE = "images count from 0; image i of a CSV stands on its line i + 2"


@dataclass(frozen=True)
class DatasetStats:
    """What one dataset is like. Images are named by their index, from 0.

    Attributes:
        name: of the dataset.
        rows: how many images.
        image_size: their height and width in pixels.
        pixel_min, pixel_max: the range of all pixels, within 0 to 255.
        pixel_mean, pixel_std: over all pixels.
        ink_share: the fraction of pixels that are not 0.
        border_mean, centre_mean: over the outermost ring, and over the middle half each way.
        inverted: the border is brighter than the centre: ink seems dark on bright.
        class_counts: how many images each class has; empty without labels.
        chi_square, chi_square_p: of the counts against equal ones; None with under two classes.
        blank: images that are 0 throughout.
        constant: images of one other value throughout.
        duplicates: groups of equal images.
        conflicts: those groups whose labels differ.
    """

    name: str
    rows: int
    image_size: int
    pixel_min: int
    pixel_max: int
    pixel_mean: float
    pixel_std: float
    ink_share: float
    border_mean: float
    centre_mean: float
    inverted: bool
    class_counts: dict[str, int]
    chi_square: float | None
    chi_square_p: float | None
    blank: tuple[int, ...]
    constant: tuple[int, ...]
    duplicates: tuple[tuple[int, ...], ...]
    conflicts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Report:
    """What `check` found.

    Attributes:
        train, test: each file on its own.
        overlap: pairs (index in train, index in test) of equal images; one for each test image.
        problems: sentences about what is wrong and makes results worthless if left so.
        notes: sentences about what is odd.
    """

    train: DatasetStats
    test: DatasetStats | None
    overlap: tuple[tuple[int, int], ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold."""
        return {**asdict(self), "missing_values": 0}

    def lines(self) -> list[str]:
        """Return the report as sentences to read, what is wrong first."""
        files = [self.train] if self.test is None else [self.train, self.test]
        lines = [f"problem: {problem}" for problem in self.problems]
        lines += [f"note: {note}" for note in self.notes]
        for file in files:
            lines += _describe(file)
        if self.test is not None:
            lines.append(
                f"{self.test.name}: {len(self.overlap):,} of {self.test.rows:,} images are also in "
                f"{self.train.name}"
            )
        lines.append("missing values: none, since reading refuses blank cells")
        return [*lines, _LINES_ARE]


def check(train: Dataset, test: Dataset | None = None) -> Report:
    """Look for what is wrong or odd in `train`, in `test`, and between them."""
    first = _compute_stats(train)
    second = None if test is None else _compute_stats(test)
    overlap = () if test is None else _overlap(train, test)
    problems, notes = [], []
    for file in (first, second):
        if file is not None:
            problems += _problems(file)
            notes += _notes(file)
    if test is not None and train.image_size != test.image_size:
        problems.append(
            f"{test.name}: images are {test.image_size} × {test.image_size} pixels, expected "
            f"{train.image_size} × {train.image_size} as in {train.name}"
        )
    if overlap and test is not None:
        shown = ", ".join(f"{in_train} = {in_test}" for in_train, in_test in overlap[:_SHOWN])
        problems.append(
            f"{test.name}: {pluralize(len(overlap), 'image')} also in {train.name} "
            f"(train = test: {shown}{_more(overlap)}), expected none: a score on them flatters"
        )
    return Report(first, second, overlap, tuple(problems), tuple(notes))


def _compute_stats(dataset: Dataset) -> DatasetStats:
    images, size = dataset.images, dataset.image_size
    mean, std = dataset.pixel_mean_and_std()
    lowest, highest = images.min(axis=(1, 2)), images.max(axis=(1, 2))
    flat = lowest == highest
    border, centre = _border_and_centre(images)
    counts = {} if dataset.labels is None else dataset.class_counts()
    chi_square, p = _chi_square(list(counts.values()))
    duplicates = _groups(images)
    return DatasetStats(
        name=dataset.name,
        rows=len(dataset),
        image_size=size,
        pixel_min=int(lowest.min(initial=255)),
        pixel_max=int(highest.max(initial=0)),
        pixel_mean=mean,
        pixel_std=std,
        ink_share=float(np.count_nonzero(images) / max(images.size, 1)),
        border_mean=border,
        centre_mean=centre,
        inverted=border > centre,
        class_counts=counts,
        chi_square=chi_square,
        chi_square_p=p,
        blank=_where(flat & (highest == 0)),
        constant=_where(flat & (highest > 0)),
        duplicates=duplicates,
        conflicts=_conflicts(duplicates, dataset.labels),
    )


def _chi_square(counts: list[int]) -> tuple[float | None, float | None]:
    """Return the statistic against equal counts and its p-value."""
    if len(counts) < 2 or not any(counts):
        return None, None
    from scipy.stats import chisquare  # noqa: PLC0415 - slow to import

    statistic, p = chisquare(counts)
    return float(statistic), float(p)


def _border_and_centre(images: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the mean over the outermost ring and over the middle half of each image."""
    if not images.size:
        return 0.0, 0.0
    size = images.shape[1]
    mean = images.mean(axis=0)
    inside = np.zeros((size, size), dtype=bool)
    inside[1:-1, 1:-1] = True
    middle = slice(size // 4, size - size // 4)
    return float(mean[~inside].mean()), float(mean[middle, middle].mean())


def _as_keys(images: NDArray[np.uint8]) -> NDArray[np.void]:
    """Return [N] values that are equal exactly where images are."""
    rows = np.ascontiguousarray(images.reshape(len(images), -1))
    return rows.view(np.dtype((np.void, rows.shape[1]))).ravel()


def _groups(images: NDArray[np.uint8]) -> tuple[tuple[int, ...], ...]:
    """Return the indices of equal images, group by group, in order of first appearance."""
    if not images.size:
        return ()
    _, group, counts = np.unique(_as_keys(images), return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[group] > 1)
    members: dict[int, list[int]] = {}
    for index in repeated.tolist():
        members.setdefault(int(group[index]), []).append(index)
    return tuple(map(tuple, members.values()))


def _conflicts(
    groups: tuple[tuple[int, ...], ...], labels: NDArray[np.int64] | None
) -> tuple[tuple[int, ...], ...]:
    if labels is None:
        return ()
    return tuple(group for group in groups if len(set(labels[list(group)].tolist())) > 1)


def _overlap(train: Dataset, test: Dataset) -> tuple[tuple[int, int], ...]:
    if train.image_size != test.image_size or not len(train) or not len(test):
        return ()
    both = np.concatenate([_as_keys(train.images), _as_keys(test.images)])
    _, first, group = np.unique(both, return_index=True, return_inverse=True)
    earliest = first[group[len(train) :]]
    shared = np.flatnonzero(earliest < len(train))
    return tuple((int(earliest[index]), int(index)) for index in shared)


def _where(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())


def _problems(file: DatasetStats) -> list[str]:
    problems = []
    if not file.rows:
        problems.append(f"{file.name}: has no images, expected at least one")
    if file.inverted:
        problems.append(
            f"{file.name}: the border is brighter (mean {file.border_mean:.0f}) than the centre "
            f"({file.centre_mean:.0f}), expected bright ink on dark: invert the pixels"
        )
    if file.conflicts:
        problems.append(
            f"{file.name}: {pluralize(len(file.conflicts), 'group')} of equal images with different "
            f"labels ({_groups_shown(file.conflicts)}), expected one label each"
        )
    if file.class_counts and sum(count > 0 for count in file.class_counts.values()) < 2:
        problems.append(f"{file.name}: all labels are the same, expected at least two classes")
    return problems


def _notes(file: DatasetStats) -> list[str]:
    notes = []
    if file.blank:
        blank = pluralize(len(file.blank), "blank image")
        notes.append(f"{file.name}: {blank} ({_list(file.blank)})")
    if file.constant:
        flat = pluralize(len(file.constant), "image")
        notes.append(f"{file.name}: {flat} of one value throughout ({_list(file.constant)})")
    if file.duplicates:
        notes.append(
            f"{file.name}: {pluralize(len(file.duplicates), 'group')} of equal images "
            f"({_groups_shown(file.duplicates)})"
        )
    for name, count in file.class_counts.items():
        if count < _FEW_IMAGES:
            few = pluralize(count, "image")
            notes.append(f"{file.name}: class {name!r} has {few}, too few to learn from")
    return notes


def _describe(file: DatasetStats) -> list[str]:
    images, size = pluralize(file.rows, "image"), file.image_size
    lines = [
        f"{file.name}: {images} of {size} × {size} pixels from {file.pixel_min} to "
        f"{file.pixel_max}, mean {file.pixel_mean:.1f} ± {file.pixel_std:.1f}; "
        f"{file.ink_share:.1%} of pixels carry ink",
        f"{file.name}: {len(file.blank)} blank, {len(file.constant)} constant, "
        f"{pluralize(len(file.duplicates), 'group')} of equal images",
    ]
    if file.class_counts:
        counts = ", ".join(f"{name}: {count:,}" for name, count in file.class_counts.items())
        lines.append(f"{file.name}: images of each class are {counts}")
    if file.chi_square is not None:
        lines.append(
            f"{file.name}: against equal classes χ² is {file.chi_square:.1f} "
            f"(p = {file.chi_square_p:.2g})"
        )
    return lines


def _list(indices: tuple[int, ...]) -> str:
    return ", ".join(map(str, indices[:_SHOWN])) + _more(indices)


def _groups_shown(groups: tuple[tuple[int, ...], ...]) -> str:
    first = f"images {_list(groups[0])}"
    return first if len(groups) == 1 else f"{first}; {pluralize(len(groups) - 1, 'more group')}"


def _more(found: tuple[Any, ...]) -> str:
    return f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
